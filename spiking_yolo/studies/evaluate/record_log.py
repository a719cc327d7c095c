"""The records of a run on disk, one line of JSON per image, so that an interrupted run loses at most one batch."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spiking_yolo.errors import UserError
from spiking_yolo.io.json_text import exact_json, flat, json_text

Record = dict[str, Any]


class RecordLog:
    """An append-only file. Its first line is the call that made it, every other line one record.

    Each batch is on the disk before `append` returns. JSON keeps floats exactly (shortest decimal that reads back).
    """

    def __init__(self, path: Path, call: Mapping[str, Any]):
        """Open the file, or start it. Raises UserError when it was made by another call, naming what differs."""
        self.path = path
        known, _, self._end = read_log(path)
        if known:
            check_call(known, call, path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; check the folder") from error
        self._file.truncate(self._end)  # a line that a kill cut off
        if not known:
            self.append([{"call": call}])

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Add records, all or none. Raises UserError when the disk is full; what was there before stays."""
        data = b"".join(exact_json(record).encode() + b"\n" for record in records)
        written = 0
        try:
            while written < len(data):
                written += self._file.write(data[written:]) or 0
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(self._end)
            raise UserError(
                f"cannot write {self.path}: {error.strerror}; make room and go on with --resume {self.path.parent}"
            ) from error
        self._end += written

    def close(self) -> None:
        self._file.close()


def read_log(path: Path) -> tuple[dict[str, Any], list[Record], int]:
    """The call, the records, and how many bytes of the file are whole lines; nothing of a file that is not there.

    Raises UserError for a damaged line that is not the last.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}, [], 0
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error
    whole = data.rfind(b"\n") + 1
    lines = []
    for n, line in enumerate(data[:whole].splitlines(), 1):
        try:
            lines.append(json.loads(line))
        except (ValueError, RecursionError):
            raise UserError(f"{path} line {n} is damaged: start the run anew") from None
    if not lines:
        return {}, [], 0
    if not all(isinstance(line, dict) for line in lines) or not isinstance(lines[0].get("call"), dict):
        raise UserError(f"{path} does not begin with the call that made it, or holds no records: start the run anew")
    return lines[0]["call"], lines[1:], whole


def check_call(known: Mapping[str, Any], call: Mapping[str, Any], path: Path) -> None:
    """Raise UserError naming the first setting in which two calls differ."""
    old, new = flat(json.loads(json_text(known))), flat(json.loads(json_text(call)))
    for key in [*new, *old]:
        if old.get(key) != new.get(key):
            raise UserError(
                f"{path.parent} was made with {key}={_short(old.get(key))}, not {_short(new.get(key))}: "
                "resume with the same settings, or start a new run"
            )


def _short(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
