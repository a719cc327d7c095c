"""A resumable log of typed records: what a run has finished survives a kill, and is not repeated.

JSON lines in an append-only file. The first line is the call that made it, every other one record.
A batch of records is on the disk before `append` returns; a kill loses at most one batch.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.classes import TopClasses
from spiking_yolo.errors import UserError
from spiking_yolo.io.distributed import Ranks
from spiking_yolo.io.json import exact_json, flat, json_text


class Record(Protocol):
    """A dataclass of numbers, text, tensors, lists, dicts and such dataclasses."""

    @property
    def index(self) -> int: ...

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The record whose fields a line of the log holds."""
        ...


R = TypeVar("R", bound=Record)


class RecordLog:
    """An append-only file of records.

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
            self.append([{"call": call}])

    def append(self, records: Iterable[Any]) -> None:
        """Add records, all or none of them.

        Raises:
            UserError: The disk is full; the records before are safe.
        """
        data = b"".join(exact_json(record, json_fields).encode() + b"\n" for record in records)
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
    """The call and the records of a log, as JSON has them, and how many bytes are whole lines.

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
    lines = []
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


def read_records(path: Path, call: Mapping[str, Any], kind: type[R]) -> list[R]:
    """The records of a log that this call made.

    Raises:
        UserError: Another call made it, or a record is damaged.
    """
    earlier, lines, _ = read_log(path)
    if earlier:
        check_call(earlier, call, path)
    try:
        return [kind.from_json(line) for line in lines]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(f"{path} holds a damaged record: start the run anew") from None


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
    observe: Callable[[range], list[R]],
    kind: type[R],
    call: Mapping[str, Any],
    folder: Path | None = None,
    ranks: Ranks = Ranks(),  # noqa: B008
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> list[R]:
    """The records of all batches of indices, of which torchrun's processes compute a share each.

    Args:
        batches: Indices that are observed together.
        observe: Makes the records of a batch, in order.
        kind: Type of the records.
        call: What decides the records.
        folder: Holds a log for each process. The records of an interrupted run are taken from
            there; None keeps nothing.
        ranks: This process among those of torchrun.
        progress: Called with the images done and the images in all, of this process, first and
            after each batch.

    Returns:
        The records in the order of the batches; in processes other than the first an empty list.

    Raises:
        UserError: The folder is of another call.
    """
    finished = _finished(folder, call, kind, ranks)
    missing = ranks.share([batch for batch in batches if not all(i in finished for i in batch)])
    log = RecordLog(folder / f"records-{ranks.rank}.jsonl", call) if folder else None
    new: list[R] = []
    done = len(finished) if ranks.size == 1 else 0
    total = done + sum(map(len, missing))
    try:
        progress(done, total)
        for batch in missing:
            records = observe(batch)
            if log:
                log.append(records)
            new += records
            progress(done + len(new), total)
    finally:
        if log:
            log.close()
    for records in ranks.gather(new):
        finished |= {record.index: record for record in records}
    return [finished[i] for batch in batches for i in batch] if ranks.first else []


def _finished(
    folder: Path | None, call: Mapping[str, Any], kind: type[R], ranks: Ranks
) -> dict[int, Any]:
    """Records of an interrupted run by index; in processes other than the first their indices."""
    finished: dict[int, R] = {}
    problem = ""
    if folder and ranks.first:
        try:
            for path in sorted(folder.glob("records-*.jsonl")):
                finished |= {record.index: record for record in read_records(path, call, kind)}
        except UserError as error:
            problem = str(error)
    # All processes start together from what the first one has seen, before any of them writes.
    problem, indices = ranks.broadcast((problem, list(finished)))
    if problem:
        raise UserError(problem)
    return finished if ranks.first else dict.fromkeys(indices)


def prediction_from(content: dict[str, Any]) -> Detections | TopClasses:
    """The prediction that a line of a log holds."""
    confidence = torch.tensor(content["confidence"], dtype=torch.float32)
    class_id = torch.tensor(content["class_id"], dtype=torch.int64)
    if "xyxy" not in content:
        return TopClasses(class_id, confidence)
    xyxy = torch.from_numpy(np.array(content["xyxy"], np.float32).reshape(-1, 4))
    return Detections(xyxy, confidence, class_id)


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
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
