"""A log that resumes: what a run has finished survives a kill, and is not repeated.

JSON lines in an append-only file. The first line is the call that made it, every other one a batch
of records, which is on the disk before `append` returns; a kill loses at most one batch.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import read_bytes
from spiking_yolo.io.text import finite, flat

R = TypeVar("R")


@contextmanager
def open_log(path: Path, call: Mapping[str, Any]) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield a function that adds a line to a log, which is made if it does not exist.

    Args:
        path: The file.
        call: What decides the records.

    Raises:
        UserError: The file was made by another call, and the message names what differs; or a line
            holds nan or infinity.
    """
    lines, whole = read_log(path, call)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        # A kill may have cut off the last line.
        file.truncate(whole)

        def append(line: Mapping[str, Any]) -> None:
            try:
                text = json.dumps(line, allow_nan=False, separators=(",", ":"), default=json_fields)
            except ValueError:
                raise UserError("the outputs are not finite: convert with other settings") from None
            file.write(text.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

        if not lines:
            append({"call": finite(call)})
        yield append


def read_log(path: Path, call: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """The whole lines of a log, as JSON has them, and how many bytes they are; none of no file.

    Raises:
        UserError: It was made by another call, or a line other than the last is damaged.
    """
    if not path.exists():
        return [], 0
    data = read_bytes(path)
    whole = data.rfind(b"\n") + 1
    try:
        lines = list(map(json.loads, data[:whole].splitlines()))
        made_by = flat(lines[0]["call"]) if lines else {}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged: start the run anew") from None
    if lines:
        asked = flat(json.loads(json.dumps(finite(call))))
        for key in [*asked, *made_by]:
            if made_by.get(key) != asked.get(key):
                said = f"{key}={made_by.get(key)!s:.60}, not {asked.get(key)!s:.60}"
                raise UserError(f"{path.parent} was made with {said}: give the same, or a new run")
    return lines, whole


def run_logged(
    batches: Sequence[range],
    observe: Callable[[range], Iterable[R]],
    read: Callable[[dict[str, Any]], R],
    call: Mapping[str, Any],
    path: Path | None = None,
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> list[list[R]]:
    """The records of all batches of indices.

    Args:
        batches: Indices that are observed together; a batch is known by its first one.
        observe: Makes the records of a batch, in order.
        read: Makes a record of what JSON has of it.
        call: What decides the records.
        path: The log, from which the batches of an interrupted run are taken. None keeps nothing.
        progress: Called with the records done and the records in all, first and after each.

    Raises:
        UserError: The log is of another call, or damaged.
    """
    finished: dict[int, list[R]] = {}
    with ExitStack() as files:
        append = None
        if path:
            append = files.enter_context(open_log(path, call))
            try:
                for line in read_log(path, call)[0][1:]:
                    finished[line["batch"]] = list(map(read, line["records"]))
            except (AttributeError, KeyError, TypeError, ValueError):
                problem = f"a record in {path.parent} is damaged: start the run anew"
                raise UserError(problem) from None
        total = sum(map(len, batches))
        done = sum(len(batch) for batch in batches if batch.start in finished)
        progress(done, total)
        for batch in batches:
            if batch.start in finished:
                continue
            records: list[R] = []
            for record in observe(batch):
                records.append(record)
                progress(min(done + len(records), total), total)
            if append:
                append({"batch": batch.start, "records": records})
            finished[batch.start] = records
            done += len(batch)
    return [finished[batch.start] for batch in batches]


def json_fields(value: Any) -> Any:
    """Convert a dataclass, tensor or array for JSON: float32 becomes the shortest decimal that
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
