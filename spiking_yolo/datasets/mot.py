"""Videos to measure on: sequences in the layout of MOTChallenge, and bare clips."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spiking_yolo.datasets.mot_file import MotBoxes, read_mot
from spiking_yolo.errors import UserError
from spiking_yolo.io.frames import frames_of, image_paths
from spiking_yolo.io.sources import VIDEOS

LAYOUT = "NAME/img1/*.jpg or NAME/NAME.mp4, with gt/gt.txt or gt.txt"


@dataclass(frozen=True)
class Sequence:
    """A video and, if known, its people.

    source: a video file, or image files in order. truth: the text file of `read_mot`. length: frames that there
    should be, None if unknown.
    """

    name: str
    source: Path | tuple[Path, ...]
    truth: Path | None
    length: int | None

    def frames(self) -> Iterator[np.ndarray]:
        """uint8 [H, W, 3] RGB each. Raises UserError for frames that cannot be read."""
        return frames_of(self.source).images

    def ground_truth(self) -> dict[int, MotBoxes]:
        """Boxes by frame number, from 1; empty without a file. Raises UserError as `read_mot` does."""
        return read_mot(self.truth) if self.truth else {}


def open_sequences(path: str | Path) -> list[Sequence]:
    """The sequence or sequences at `path`, by name.

    path: a video file; the folder of a sequence; or a folder of video files and of such folders. A sequence is
    img1/ with images or else its one video file, or NAME.mp4 among several; ground truth in gt/gt.txt or gt.txt is
    optional.
    Raises UserError when there is none, and for a sequence without frames.
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
    return (folder / "img1").is_dir() or (folder / "seqinfo.ini").is_file() or _truth(folder) is not None


def _truth(folder: Path) -> Path | None:
    return next((p for p in (folder / "gt" / "gt.txt", folder / "gt.txt") if p.is_file()), None)


def _videos(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEOS and p.is_file())


def _clip(video: Path) -> Sequence:
    return Sequence(video.stem, video, None, frames_of(video).total)


def _sequence(folder: Path) -> Sequence:
    name = folder.resolve().name
    source = _source(folder, name)
    return Sequence(name, source, _truth(folder), frames_of(source).total)


def _source(folder: Path, name: str) -> Path | tuple[Path, ...]:
    if (folder / "img1").is_dir() and (images := image_paths(folder / "img1")):
        return images
    videos = _videos(folder)
    chosen = [v for v in videos if v.stem == name] or videos
    if not chosen:
        raise UserError(f"the sequence {folder} has no frames: it needs {LAYOUT}")
    if len(chosen) > 1:
        raise UserError(f"the sequence {folder} has {len(chosen)} videos: keep one, or name one {name}.mp4")
    return chosen[0]
