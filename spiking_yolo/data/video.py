"""Frames: of videos, cameras, folders and iterables."""

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from PIL.Image import Image

from spiking_yolo.data.connection import UNKNOWN_FPS, Video, connect
from spiking_yolo.data.datasets import spread_first
from spiking_yolo.data.images import ImageSource, Picture, read_image
from spiking_yolo.data.live import Live, is_camera
from spiking_yolo.data.sources import image_paths, is_address, is_stream, is_webcam
from spiking_yolo.errors import UserError

# One of so many frames of a video is previewed.
PREVIEW = 10
# Up to BLACK frames at the start give no thresholds while their pixels deviate by at most PLAIN.
BLACK, PLAIN = 250, 8.0

FrameSource = str | os.PathLike[str] | int | np.ndarray | Video | Iterable[ImageSource]


def open_video(
    source: str, live: bool = False, retries: int | None = None, wake: Event | None = None
) -> Video:
    """Open a video, or a camera: a webcam, or an address without an end.

    Args:
        source: Path, address or number.
        live: Read a video too as if a camera sent it.
        retries: See Live; with a number, a camera may be away in the beginning too.
        wake: See Live.

    Raises:
        UserError: It cannot be opened.
    """
    away = retries is not None and is_camera(source)
    first = None if away else connect(source)
    if first is None or live or is_camera(source, first):
        return Live(source, first, retries, wake)
    return first


def frames_of(source: FrameSource, bgr: bool = False) -> Video:
    """Open a source of frames, which are read on use. A video that breaks off gives a Notice.

    Args:
        source: A video file; a webcam's number; a folder of images, in the order of the numbers in
            their names; an image; an array [n, H, W, 3]; any iterable of arrays, files or PIL
            images; or a Video that is open.
        bgr: See `read_image`.

    Raises:
        UserError: The source cannot be opened; or, while reading, it has no frames or a bad one.
    """
    if isinstance(source, Video):
        return source
    images: Any = source
    name = "the source"
    if isinstance(source, str | os.PathLike | int):
        name = str(source)
        if is_stream(name):
            return open_video(name)
        images = image_paths(Path(name)) if Path(name).is_dir() else [name]
    elif isinstance(source, Image) or (isinstance(source, np.ndarray) and source.ndim < 4):
        images = [source]
    if not hasattr(images, "__iter__"):
        kind = type(source).__name__
        raise UserError(f"frames are a file, a webcam's number or images in a row, not {kind}")
    total = len(images) if hasattr(images, "__len__") else None
    return Video(name, total, UNKNOWN_FPS, images, partial(read_image, bgr=bgr))


def previewed(sources: Sequence[str], few: int) -> Iterator[Picture]:
    """Pictures for a calibration on the fly: the images, `few` spread over all of them first, or
    else some frames of the first source, if it is a file.
    """
    images = [source for source in sources if not is_stream(source)]
    yield from map(Picture.file, spread_first(images, few))
    first = sources[0]
    if not images and not is_address(first) and not is_webcam(first):
        with open_video(first) as video:
            black, bright = list[Picture](), False
            for k, frame in enumerate(video.frames(PREVIEW)):
                picture = Picture(f"{first}#{k * PREVIEW}", frame)
                if frame.std() <= PLAIN and k * PREVIEW < BLACK:
                    black.append(picture)
                    continue
                yield picture
                few, bright = few - 1, True
                if not few:
                    return
            if not bright:
                yield from black[:few]
