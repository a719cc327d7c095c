"""A log that resumes: what a run has finished survives a kill, and is not repeated.

JSON lines in an append-only file. The first line is the call that made it, every other one a batch
of records, which is on the disk before `append` returns; a kill loses at most one batch.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.io.distributed import Ranks
from spiking_yolo.io.json import exact_json, flat, json_text

R = TypeVar("R")


class RecordLog:
    """An append-only file of batches of records.

    Args:
        path: The file, which is made if it does not exist.
        call: What decides the records. JSON keeps its floats exactly.

    Raises:
        UserError: The file was made by another call, and the message names what differs; or it
            cannot be written.
    """

    def __init__(self, path: Path, call: Mapping[str, Any]):
        self.path = path
        earlier, _, self._end = read_log(path)
        if earlier:
            check_call(earlier, call, path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; check the folder") from error
        # A kill may have cut off the last line.
        self._file.truncate(self._end)
        if not earlier:
            self.append({"call": call})

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line, all of it or nothing.

        Raises:
            UserError: The disk is full; the lines before are safe.
        """
        data = exact_json(line, json_fields).encode() + b"\n"
        written = 0
        try:
            while written < len(data):
                written += self._file.write(data[written:]) or 0
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(self._end)
            raise UserError(
                f"cannot write {self.path}: {error.strerror}; make room and go on with --resume"
                f" {self.path.parent}"
            ) from error
        self._end += written

    def close(self) -> None:
        self._file.close()


def read_log(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], int]:
    """The call and the other lines of a log, as JSON has them, and how many bytes are whole lines.

    All are empty if there is no such file, or no whole line in it.

    Raises:
        UserError: A line other than the last is damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}, [], 0
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error
    whole = data.rfind(b"\n") + 1
    lines: list[Any] = []
    for n, line in enumerate(data[:whole].splitlines(), 1):
        try:
            lines.append(json.loads(line))
        except (ValueError, RecursionError):
            raise UserError(f"{path} line {n} is damaged: start the run anew") from None
    if not lines:
        return {}, [], 0
    objects = all(isinstance(line, dict) for line in lines)
    if not objects or not isinstance(lines[0].get("call"), dict):
        raise UserError(
            f"{path} does not begin with the call that made it, or holds no records: start the run"
            " anew"
        )
    return lines[0]["call"], lines[1:], whole


def check_call(earlier: Mapping[str, Any], call: Mapping[str, Any], path: Path) -> None:
    """Raise UserError naming the first setting in which two calls differ."""
    old = flat(json.loads(json_text(earlier)))
    new = flat(json.loads(json_text(call)))
    for key in [*new, *old]:
        if old.get(key) != new.get(key):
            raise UserError(
                f"{path.parent} was made with {key}={_short(old.get(key))}, not"
                f" {_short(new.get(key))}: resume with the same settings, or start a new run"
            )


def run_logged(
    batches: Sequence[range],
    observe: Callable[[range], Iterable[R]],
    read: Callable[[dict[str, Any]], R],
    call: Mapping[str, Any],
    stem: Path | None = None,
    ranks: Ranks = Ranks(),  # noqa: B008
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> list[list[R]]:
    """The records of all batches of indices, of which torchrun's processes compute a share each.

    Args:
        batches: Indices that are observed together; a batch is known by its first one.
        observe: Makes the records of a batch, in order.
        read: Makes a record of what JSON has of it.
        call: What decides the records.
        stem: Path of the log without its end: a process writes STEM.RANK.jsonl. The batches of an
            interrupted run are taken from there. None keeps nothing.
        ranks: This process among those of torchrun.
        progress: Called with the records done and the records in all, of this process, first and
            after each.

    Returns:
        The records of each batch; in processes other than the first an empty list.

    Raises:
        UserError: The log is of another call.
    """
    finished = _finished(stem, call, read, ranks)
    missing = ranks.share([batch for batch in batches if batch.start not in finished])
    log = None
    if stem:
        log = RecordLog(stem.with_name(f"{stem.name}.{ranks.rank}.jsonl"), call)
    total = sum(map(len, missing if ranks.size > 1 else batches))
    done = total - sum(map(len, missing))
    new: dict[int, list[R]] = {}
    try:
        progress(done, total)
        for batch in missing:
            records: list[R] = []
            for record in observe(batch):
                records.append(record)
                progress(min(done + len(records), total), total)
            if log:
                log.append({"batch": batch.start, "records": records})
            new[batch.start] = records
            done += len(batch)
    finally:
        if log:
            log.close()
    for records_of_process in ranks.gather(new):
        finished |= records_of_process
    return [finished[batch.start] for batch in batches] if ranks.first else []


def _finished(
    stem: Path | None, call: Mapping[str, Any], read: Callable[[dict[str, Any]], R], ranks: Ranks
) -> dict[int, list[R]]:
    """The batches of an interrupted run; in processes other than the first without records."""
    finished: dict[int, list[R]] = {}
    problem = ""
    if stem and ranks.first:
        try:
            for path in sorted(stem.parent.glob(f"{stem.name}.[0-9]*.jsonl")):
                finished |= _batches(path, call, read)
        except UserError as error:
            problem = str(error)
    # All processes start together from what the first one has seen, before any of them writes.
    problem, known = ranks.broadcast((problem, list(finished)))
    if problem:
        raise UserError(problem)
    return finished if ranks.first else {start: [] for start in known}


def _batches(
    path: Path, call: Mapping[str, Any], read: Callable[[dict[str, Any]], R]
) -> dict[int, list[R]]:
    """The batches of a log that this call made."""
    earlier, lines, _ = read_log(path)
    if earlier:
        check_call(earlier, call, path)
    try:
        return {line["batch"]: [read(record) for record in line["records"]] for line in lines}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(f"{path} holds a damaged record: start the run anew") from None


def json_fields(value: Any) -> Any:
    """What JSON has of a dataclass, and of a tensor or array: float32 as the shortest decimal that
    reads back as the same float32.
    """
    if is_dataclass(value):
        return vars(value)
    if isinstance(value, Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        return list(value)
    if isinstance(value, np.floating):
        return float(str(value))
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no record")


def _short(value: Any) -> str:
    text = str(value)
    if isinstance(value, list):
        text = ",".join(map(str, value))
    if len(text) > 60:
        text = text[:57] + "..."
    return text
