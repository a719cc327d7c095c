"""Anything that shows one picture after another, as frames."""

import os
import re
from collections.abc import Iterable, Iterator, Sized
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spiking_yolo.errors import UserError
from spiking_yolo.io.images import ImageSource, read_image
from spiking_yolo.io.sources import IMAGES, UNKNOWN_FPS, Video, is_stream, open_video

FrameSource = str | os.PathLike[str] | int | np.ndarray | Iterable[ImageSource]


class Frames(NamedTuple):
    """images: uint8 [H, W, 3] RGB; sizes may change. fps: 25 if unknown. total: None if unknown."""

    images: Iterator[np.ndarray]
    fps: float
    total: int | None


def frames_of(source: FrameSource) -> Frames:
    """The frames of a source, which is opened now and read on use.

    source: a video file; a webcam's number; a folder of images, in the order of the numbers in their names; an image;
    an array [n, H, W, 3]; or any iterable of arrays, files or PIL images (see `read_image`).
    Raises UserError for a source that cannot be opened, and while reading for one without frames and for a bad frame. A
    video that breaks off gives a Notice.
    """
    if isinstance(source, str | os.PathLike | int):
        name = str(source)
        if is_stream(name):
            stack = ExitStack()
            video = stack.enter_context(open_video(name))
            return Frames(_of_video(video, stack), video.fps, video.count)
        if not Path(name).is_dir():
            return Frames(_of_images([name]), UNKNOWN_FPS, 1)
        paths = image_paths(Path(name))
        if not paths:
            raise UserError(f"{name} holds no frames: give a folder with {', '.join(sorted(IMAGES))}")
        return Frames(_of_images(paths), UNKNOWN_FPS, len(paths))
    if isinstance(source, np.ndarray) and source.ndim < 4:
        source = [source]
    return Frames(_of_images(source), UNKNOWN_FPS, len(source) if isinstance(source, Sized) else None)


def taken(count: int | None, every: int = 1, most: int | None = None) -> int | None:
    """How many frames of `count` are looked at: every n-th, `most` at most. None if unknown."""
    if count is None:
        return most
    chosen = -(-count // every)
    return min(chosen, most or chosen)


def image_paths(folder: Path) -> tuple[Path, ...]:
    """The images of a folder. Numbers in names count as such: 2.jpg comes before 10.jpg."""

    def order(path: Path) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]

    return tuple(sorted((p for p in folder.iterdir() if p.suffix.lower() in IMAGES and p.is_file()), key=order))


def _of_video(video: Video, stack: ExitStack) -> Iterator[np.ndarray]:
    with stack:
        yield from video.frames()


def _of_images(images: Iterable[ImageSource]) -> Iterator[np.ndarray]:
    number = 0
    for number, image in enumerate(images, 1):
        try:
            pixels = read_image(image)
        except UserError as error:
            raise UserError(f"frame {number}: {error}") from None
        yield pixels
    if number == 0:
        raise UserError("the source has no frames: give at least one image")
