"""Videos, webcams, folders and iterables as streams of frames."""

import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spiking_yolo.data.detection import spread_first
from spiking_yolo.data.images import ImageSource, Picture, read_image
from spiking_yolo.data.sources import (
    IMAGES,
    UNKNOWN_FPS,
    Video,
    image_paths,
    is_stream,
    open_video,
)
from spiking_yolo.errors import UserError

# Every so many frames of a video, one is previewed.
PREVIEW = 10


FrameSource = str | os.PathLike[str] | int | np.ndarray | Iterable[ImageSource]


class Frames(NamedTuple):
    """Frames of a source, read on use.

    Attributes:
        images: uint8 [H, W, 3] RGB; sizes may change.
        fps: Frames per second, 25 if unknown.
        total: Number of frames, None if unknown.
    """

    images: Iterator[np.ndarray]
    fps: float
    total: int | None


def frames_of(source: FrameSource) -> Frames:
    """Open a source of frames, which are read on use. A video that breaks off gives a Notice.

    Args:
        source: A video file; a webcam's number; a folder of images, in the order of the numbers in
            their names; an image; an array [n, H, W, 3]; or any iterable of arrays, files or PIL
            images (see `read_image`).

    Raises:
        UserError: The source cannot be opened; or, while reading, it has no frames or a bad one.
    """
    if isinstance(source, str | os.PathLike | int):
        return _frames_of_name(str(source))
    if isinstance(source, np.ndarray) and source.ndim < 4:
        source = [source]
    total = len(source) if isinstance(source, Sized) else None
    return Frames(_read_images(source), UNKNOWN_FPS, total)


def _frames_of_name(name: str) -> Frames:
    if is_stream(name):
        stack = ExitStack()
        video = stack.enter_context(open_video(name))
        return Frames(_read_video(video, stack), video.fps, video.count)
    if not Path(name).is_dir():
        return Frames(_read_images([name]), UNKNOWN_FPS, 1)
    paths = image_paths(Path(name))
    if not paths:
        raise UserError(f"{name} holds no frames: give a folder with {', '.join(sorted(IMAGES))}")
    return Frames(_read_images(paths), UNKNOWN_FPS, len(paths))


def previewed(sources: Sequence[str], few: int) -> Iterator[Picture]:
    """Pictures for a calibration on the fly: the images, `few` spread over all of them first, then
    some frames of the first video that can be read.

    Raises:
        UserError: There are only videos, and none can be read; the error of the first.
    """
    images = [source for source in sources if not is_stream(source)]
    yield from map(Picture.file, spread_first(images, few))
    errors: list[UserError] = []
    for source in sources:
        if not is_stream(source) or not Path(source).is_file():
            continue
        try:
            with open_video(source) as video:
                frames = list(islice(video.frames(PREVIEW), few))
        except UserError as error:
            errors.append(error)
            continue
        for k, frame in enumerate(frames):
            yield Picture(f"{source}#{k * PREVIEW}", frame)
        return
    if errors and not images:
        raise errors[0]


def _read_video(video: Video, stack: ExitStack) -> Iterator[np.ndarray]:
    with stack:
        yield from video.frames()


def _read_images(images: Iterable[ImageSource]) -> Iterator[np.ndarray]:
    number = 0
    for number, image in enumerate(images, 1):
        try:
            pixels = read_image(image)
        except UserError as error:
            raise UserError(f"frame {number}: {error}") from None
        yield pixels
    if number == 0:
        raise UserError("the source has no frames: give at least one image")
