"""The text files of MOTChallenge (Leal-Taixe et al. 2015, Milan et al. 2016): ground truth and results.

A line is `frame,id,left,top,width,height,flag,...`; frames and pixels count from 1. What follows depends on the year:
MOT16 and later have nine columns, the eighth a class, of which 1 is a pedestrian; in the ten columns of MOT15 and of
results it is a world coordinate, or -1.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import read_text

_LEAST, _CLASS = 6, 7  # columns that a line needs; the column of the class
_WITH_CLASS = (8, 9)  # columns of a line that has one
_PEDESTRIAN, _NOT_GIVEN = 1, -1


@dataclass(frozen=True, eq=False)
class MotBoxes:
    """The boxes of one frame.

    xyxy: float64 [n, 4], corners in pixels, zero-based. ids: int64 [n], -1 where there is none. confidence: float64
    [n]; of ground truth the flag. ignored: bool [n], regions that are not scored.
    """

    xyxy: np.ndarray
    ids: np.ndarray
    confidence: np.ndarray
    ignored: np.ndarray

    @classmethod
    def of(cls, xyxy: object, confidence: object = 1.0, ids: object = -1, ignored: object = False) -> Self:
        """Boxes from lists, arrays or tensors."""
        corners = np.asarray(xyxy, np.float64).reshape(-1, 4)

        def column(values: object, kind: type) -> np.ndarray:
            return np.broadcast_to(np.asarray(values, kind), len(corners)).copy()

        return cls(corners, column(ids, np.int64), column(confidence, np.float64), column(ignored, bool))

    def __len__(self) -> int:
        return len(self.xyxy)


def read_mot(path: str | Path) -> dict[int, MotBoxes]:
    """The boxes of each frame that has some, by its number from 1.

    Boxes with flag 0, and of a class other than pedestrian, are ignored regions; lines without class are pedestrians.
    Raises UserError, naming file and line, for what is no box, and for a file without any.
    """
    path = Path(path)
    lines = read_text(path).splitlines()
    rows: dict[int, list[list[float]]] = defaultdict(list)
    for n, line in enumerate(lines, 1):
        if line.strip():
            row = _row(line, f"{path} line {n}")
            rows[int(row[0])].append(row)
    if not rows:
        raise UserError(f"{path} has no boxes: give a file with lines 'frame,id,left,top,width,height,...'")
    return {frame: _boxes(rows[frame]) for frame in sorted(rows)}


def _row(line: str, where: str) -> list[float]:
    try:
        row = [float(word) for word in line.split(",")]
    except ValueError:
        row = []
    if len(row) < _LEAST:
        shown = line.strip()[:60]
        raise UserError(f"{where}: '{shown}' is not 'frame,id,left,top,width,height,...': correct it")
    if not all(map(math.isfinite, row)):
        raise UserError(f"{where}: every number must be finite: correct it or remove the line")
    if row[0] < 1 or row[0] % 1:
        raise UserError(f"{where}: frame {row[0]:g} is not a whole number from 1: correct it")
    if row[1] % 1:
        raise UserError(f"{where}: the id {row[1]:g} is not a whole number: correct it")
    if min(row[4:6]) < 0:
        raise UserError(f"{where}: width and height, {row[4]:g} and {row[5]:g}, must not be negative: correct them")
    return row


def _boxes(rows: list[list[float]]) -> MotBoxes:
    table = np.array([row[:_LEAST] for row in rows])
    corner, size = table[:, 2:4] - 1, table[:, 4:6]
    flags = np.array([row[_LEAST] if len(row) > _LEAST else 1.0 for row in rows])
    classes = [row[_CLASS] if len(row) in _WITH_CLASS else _NOT_GIVEN for row in rows]
    ignored = (flags == 0) | ~np.isin(classes, (_PEDESTRIAN, _NOT_GIVEN))
    return MotBoxes.of(np.hstack([corner, corner + size]), flags, table[:, 1], ignored)


def mot_lines(frame: int, boxes: MotBoxes) -> str:
    """Lines `frame,id,left,top,width,height,confidence,-1,-1,-1`, to a thousandth of a pixel; frames count from 1."""
    return "".join(_line(frame, boxes, i) for i in range(len(boxes)))


def _line(frame: int, boxes: MotBoxes, i: int) -> str:
    x1, y1, x2, y2 = boxes.xyxy[i].tolist()
    place = f"{x1 + 1:.3f},{y1 + 1:.3f},{x2 - x1:.3f},{y2 - y1:.3f}"
    return f"{frame},{boxes.ids[i]},{place},{boxes.confidence[i]:.6g},-1,-1,-1\n"
