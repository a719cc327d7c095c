"""The text files of MOTChallenge (Leal-Taixe et al. 2015, Milan et al. 2016): ground truth and
results.

A line is `frame,id,left,top,width,height,flag,...`; frames and pixels count from 1. What follows
depends on the year: MOT16 and later have nine columns, the eighth a class, of which 1 is a
pedestrian; in the ten columns of MOT15 and of results it is a world coordinate, or -1.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from spiking_yolo.data.sources import VIDEOS, image_paths
from spiking_yolo.data.video import frames_of
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import read_text

# Columns that a line needs; the column of the class.
_LEAST, _CLASS = 6, 7
_WITH_CLASS = (8, 9)  # columns of a line that has one
_PEDESTRIAN, _NOT_GIVEN = 1, -1


@dataclass(frozen=True, eq=False)
class MotBoxes:
    """The boxes of one frame.

    xyxy: float64 [n, 4], corners in pixels, zero-based. ids: int64 [n], -1 where there is none.
    confidence: float64 [n]; of ground truth the flag. ignored: bool [n], regions that are not
    scored.
    """

    xyxy: np.ndarray
    ids: np.ndarray
    confidence: np.ndarray
    ignored: np.ndarray

    @classmethod
    def of(
        cls, xyxy: object, confidence: object = 1.0, ids: object = -1, ignored: object = False
    ) -> Self:
        """Boxes from lists, arrays or tensors."""
        corners = np.asarray(xyxy, np.float64).reshape(-1, 4)

        def column(values: object, kind: type) -> np.ndarray:
            return np.broadcast_to(np.asarray(values, kind), len(corners)).copy()

        return cls(
            corners, column(ids, np.int64), column(confidence, np.float64), column(ignored, bool)
        )

    def __len__(self) -> int:
        return len(self.xyxy)


def read_mot(path: str | Path) -> dict[int, MotBoxes]:
    """The boxes of each frame that has some, by its number from 1.

    Boxes with flag 0, and of a class other than pedestrian, are ignored regions; lines without
    class are pedestrians. Raises UserError, naming file and line, for what is no box, and for a
    file without any.
    """
    path = Path(path)
    lines = read_text(path).splitlines()
    rows: dict[int, list[list[float]]] = defaultdict(list)
    for n, line in enumerate(lines, 1):
        if line.strip():
            row = _row(line, f"{path} line {n}")
            rows[int(row[0])].append(row)
    if not rows:
        raise UserError(
            f"{path} has no boxes: give a file with lines 'frame,id,left,top,width,height,...'"
        )
    return {frame: _boxes(rows[frame]) for frame in sorted(rows)}


def _row(line: str, where: str) -> list[float]:
    try:
        row = [float(word) for word in line.split(",")]
    except ValueError:
        row = []
    if len(row) < _LEAST:
        shown = line.strip()[:60]
        raise UserError(
            f"{where}: '{shown}' is not 'frame,id,left,top,width,height,...': correct it"
        )
    if not all(map(math.isfinite, row)):
        raise UserError(f"{where}: every number must be finite: correct it or remove the line")
    if row[0] < 1 or row[0] % 1:
        raise UserError(f"{where}: frame {row[0]:g} is not a whole number from 1: correct it")
    if row[1] % 1:
        raise UserError(f"{where}: the id {row[1]:g} is not a whole number: correct it")
    if min(row[4:6]) < 0:
        raise UserError(
            f"{where}: width and height, {row[4]:g} and {row[5]:g}, must not be negative: correct"
            " them"
        )
    return row


def _boxes(rows: list[list[float]]) -> MotBoxes:
    table = np.array([row[:_LEAST] for row in rows])
    corner, size = table[:, 2:4] - 1, table[:, 4:6]
    flags = np.array([row[_LEAST] if len(row) > _LEAST else 1.0 for row in rows])
    classes = [row[_CLASS] if len(row) in _WITH_CLASS else _NOT_GIVEN for row in rows]
    ignored = (flags == 0) | ~np.isin(classes, (_PEDESTRIAN, _NOT_GIVEN))
    return MotBoxes.of(np.hstack([corner, corner + size]), flags, table[:, 1], ignored)


def mot_lines(frame: int, boxes: MotBoxes) -> str:
    """Lines `frame,id,left,top,width,height,confidence,-1,-1,-1`, to a thousandth of a pixel;
    frames count from 1.
    """
    return "".join(_line(frame, boxes, i) for i in range(len(boxes)))


def _line(frame: int, boxes: MotBoxes, i: int) -> str:
    x1, y1, x2, y2 = boxes.xyxy[i].tolist()
    place = f"{x1 + 1:.3f},{y1 + 1:.3f},{x2 - x1:.3f},{y2 - y1:.3f}"
    return f"{frame},{boxes.ids[i]},{place},{boxes.confidence[i]:.6g},-1,-1,-1\n"


LAYOUT = "NAME/img1/*.jpg or NAME/NAME.mp4, with gt/gt.txt or gt.txt"


@dataclass(frozen=True)
class VideoSequence:
    """A video and, if known, its people.

    source: a video file, or image files in order. truth: the text file of `read_mot`. length:
    frames that there should be, None if unknown.
    """

    name: str
    source: Path | tuple[Path, ...]
    truth: Path | None
    length: int | None

    def frames(self) -> Iterator[np.ndarray]:
        """uint8 [H, W, 3] RGB each. Raises UserError for frames that cannot be read."""
        return frames_of(self.source).images

    def ground_truth(self) -> dict[int, MotBoxes]:
        """Boxes by frame number, from 1; empty without a file. Raises UserError as
        `read_mot` does.
        """
        return read_mot(self.truth) if self.truth else {}


def open_sequences(path: str | Path) -> list[VideoSequence]:
    """The sequence or sequences at `path`, by name.

    path: a video file; the folder of a sequence; or a folder of video files and of such folders. A
    sequence is img1/ with images or else its one video file, or NAME.mp4 among several; ground
    truth in gt/gt.txt or gt.txt is optional. Raises UserError when there is none, and for a
    sequence without frames.
    """
    path = Path(path)
    if path.is_file():
        return [_clip(path)]
    if not path.is_dir():
        raise UserError(f"{path} does not exist: give a video, or a folder with {LAYOUT}")
    if _is_sequence(path):
        return [_sequence(path)]
    folders = [p for p in path.iterdir() if p.is_dir() and (_is_sequence(p) or _videos(p))]
    found = [*map(_clip, _videos(path)), *map(_sequence, folders)]
    if not found:
        raise UserError(f"{path} holds no video: give a folder with {LAYOUT}, or with video files")
    return sorted(found, key=lambda sequence: sequence.name)


def _is_sequence(folder: Path) -> bool:
    return (
        (folder / "img1").is_dir()
        or (folder / "seqinfo.ini").is_file()
        or _truth(folder) is not None
    )


def _truth(folder: Path) -> Path | None:
    return next((p for p in (folder / "gt" / "gt.txt", folder / "gt.txt") if p.is_file()), None)


def _videos(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEOS and p.is_file())


def _clip(video: Path) -> VideoSequence:
    return VideoSequence(video.stem, video, None, frames_of(video).total)


def _sequence(folder: Path) -> VideoSequence:
    name = folder.resolve().name
    source = _source(folder, name)
    return VideoSequence(name, source, _truth(folder), frames_of(source).total)


def _source(folder: Path, name: str) -> Path | tuple[Path, ...]:
    if (folder / "img1").is_dir() and (images := image_paths(folder / "img1")):
        return images
    videos = _videos(folder)
    chosen = [v for v in videos if v.stem == name] or videos
    if not chosen:
        raise UserError(f"the sequence {folder} has no frames: it needs {LAYOUT}")
    if len(chosen) > 1:
        raise UserError(
            f"the sequence {folder} has {len(chosen)} videos: keep one, or name one {name}.mp4"
        )
    return chosen[0]
