"""The text files of MOTChallenge (Leal-Taixe et al. 2015, Milan et al. 2016): ground truth and
results.

A line is `frame,id,left,top,width,height,flag,...`; frames and pixels count from 1. What follows
depends on the year: MOT16 and later have nine columns, the eighth a class, of which 1 is a
pedestrian; in the ten columns of MOT15 and of results it is a world coordinate, or -1.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as ConfigError
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from spiking_yolo.data.sources import VIDEOS, image_paths
from spiking_yolo.data.video import frames_of
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import read_text

# The columns that a line needs, the column of the class, and the lengths of lines that have one.
_LEAST, _CLASS, _WITH_CLASS = 6, 7, (8, 9)
_PEDESTRIAN, _NO_CLASS = 1, -1


@dataclass(frozen=True, eq=False)
class MotBoxes:
    """The boxes of one frame.

    Attributes:
        xyxy: float64 [n, 4], corners in pixels, zero-based.
        ids: int64 [n], -1 for none.
        confidence: float64 [n]; the flag of ground truth.
        ignored: bool [n], regions that are not scored.
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

        scored = column(confidence, np.float64), column(ignored, bool)
        return cls(corners, column(ids, np.int64), *scored)

    def __len__(self) -> int:
        return len(self.xyxy)


def read_mot(path: str | Path) -> dict[int, MotBoxes]:
    """The boxes of each frame that has some, by its number from 1.

    Boxes with flag 0, and of a class other than pedestrian, are ignored regions; lines without
    class are pedestrians.

    Raises:
        UserError: A line is no box, or there is none; names file and line.
    """
    path = Path(path)
    lines = read_text(path).splitlines()
    rows: dict[int, list[list[float]]] = defaultdict(list)
    for n, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = list(map(float, line.split(",")))
            frame, number, _, _, width, height = row[:_LEAST]
            if not all(map(math.isfinite, row)) or frame < 1 or frame % 1 or number % 1:
                raise ValueError
            if min(width, height) < 0:
                raise ValueError
        except ValueError:
            needed = "'frame,id,left,top,width,height,...' with frames from 1 and sizes from 0"
            said = f"{path} line {n}: '{line.strip()[:60]}' is not {needed}"
            raise UserError(f"{said}: correct it") from None
        rows[int(frame)].append(row)
    if not rows:
        raise UserError(f"{path} has no boxes: give lines 'frame,id,left,top,width,height,...'")
    return {frame: _boxes(rows[frame]) for frame in sorted(rows)}


def _boxes(rows: list[list[float]]) -> MotBoxes:
    table = np.array([row[:_LEAST] for row in rows])
    corner = table[:, 2:4] - 1
    size = table[:, 4:6]
    flags = np.array([row[_LEAST] if len(row) > _LEAST else 1.0 for row in rows])
    classes = [row[_CLASS] if len(row) in _WITH_CLASS else _NO_CLASS for row in rows]
    ignored = (flags == 0) | ~np.isin(classes, (_PEDESTRIAN, _NO_CLASS))
    return MotBoxes.of(np.hstack([corner, corner + size]), flags, table[:, 1], ignored)


def mot_lines(frame: int, boxes: MotBoxes) -> str:
    """Lines `frame,id,left,top,width,height,confidence,-1,-1,-1`, to a thousandth of a pixel;
    frames count from 1.
    """
    lines: list[str] = []
    for i, (x1, y1, x2, y2) in enumerate(boxes.xyxy.tolist()):
        box = f"{x1 + 1:.3f},{y1 + 1:.3f},{x2 - x1:.3f},{y2 - y1:.3f}"
        lines.append(f"{frame},{boxes.ids[i]},{box},{boxes.confidence[i]:.6g},-1,-1,-1\n")
    return "".join(lines)


LAYOUT = "NAME/img1/*.jpg or NAME/NAME.mp4, with gt/gt.txt or gt.txt"


@dataclass(frozen=True)
class VideoSequence:
    """A video and, if there is ground truth, its people.

    Attributes:
        name: For titles and files.
        source: A video file, or image files in order.
        truth: The text file of `read_mot`.
        length: Number of frames that there should be, None if unknown.
        fps: Frames per second, 25 if unknown.
    """

    name: str
    source: Path | tuple[Path, ...]
    truth: Path | None
    length: int | None
    fps: float

    def frames(self) -> Iterator[np.ndarray]:
        """The frames, uint8 [H, W, 3] RGB. Raises UserError for those that cannot be read."""
        return frames_of(self.source).frames()


def open_sequences(path: str | Path) -> list[VideoSequence]:
    """The sequences at a path, sorted by name.

    A sequence is a folder with images in img1/, or with one video file, or NAME.mp4 among several;
    ground truth in gt/gt.txt or gt.txt is optional.

    Args:
        path: A video file, the folder of a sequence, or a folder of video files and sequences.

    Raises:
        UserError: There is none, or one has no frames.
    """
    path = Path(path)
    found = _sequences(path)
    if not found:
        raise UserError(f"{path} holds no video: give a video, or a folder with {LAYOUT}")
    return sorted(map(_sequence, found), key=lambda sequence: sequence.name)


def has_videos(path: Path) -> bool:
    """Whether `open_sequences` finds something at a path, by names alone."""
    return bool(_sequences(path))


def _sequences(path: Path) -> list[Path]:
    """The video files and the folders of sequences at a path."""
    if path.is_file():
        return [path] if path.suffix.lower() in VIDEOS else []
    if not path.is_dir():
        return []
    if (path / "img1").is_dir() or _truth(path):
        return [path]
    videos = _videos(path)
    # A folder of photographs may have another one with clips inside.
    photographs = not videos and image_paths(path)
    folders = [one for one in path.iterdir() if one.is_dir()]
    return [*videos, *(one for one in folders if _truth(one) or (_source(one) and not photographs))]


def _truth(folder: Path) -> Path | None:
    for file in (folder / "gt" / "gt.txt", folder / "gt.txt"):
        if file.is_file():
            return file
    return None


def _videos(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEOS and p.is_file())


def _source(folder: Path) -> Path | tuple[Path, ...] | None:
    """The images of a sequence, or else its one video; None where it has neither."""
    if (folder / "img1").is_dir() and (images := image_paths(folder / "img1")):
        return images
    videos = _videos(folder)
    chosen = [video for video in videos if video.stem == folder.resolve().name] or videos
    return chosen[0] if len(chosen) == 1 else None


def _sequence(path: Path) -> VideoSequence:
    """The sequence in a video file or a folder."""
    if path.is_file():
        frames = frames_of(path)
        return VideoSequence(path.stem, path, None, frames.count, frames.fps)
    source = _source(path)
    if source is None:
        raise UserError(f"{path} has no frames: give a folder with {LAYOUT}")
    frames = frames_of(source)
    fps = frames.fps
    if not isinstance(source, Path):
        # The seqinfo.ini of a sequence of images may name the frames per second.
        content = ConfigParser(interpolation=None)
        with suppress(ConfigError, ValueError):
            content.read(path / "seqinfo.ini")
            fps = abs(content.getfloat("Sequence", "frameRate")) or fps
    return VideoSequence(path.resolve().name, source, _truth(path), frames.count, fps)
