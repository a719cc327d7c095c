"""Videos, webcams, folders and iterables as streams of frames; and writing frames as .mp4."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import ExitStack
from functools import cache
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

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
    quiet_opencv,
)
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write

# H.264, which browsers play, then MPEG-4 part 2, which OpenCV's own build always has.
CODECS = ("avc1", "mp4v")
# Bytes of disk left for the index, which comes last and without which nothing plays.
_SPARE = 2**23
_GREY = 128
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


class VideoWriter:
    """A context manager that writes an .mp4.

    The file appears on exit with the frames so far, also when Ctrl-C or an error ends the `with`;
    without a frame there is none. The first frame sets the size (an odd last row or column is cut);
    others are fitted into it.

    Args:
        path: Of the file.
        fps: Frames per second.
    """

    def __init__(self, path: str | Path, fps: float):
        self.path = Path(path)
        self.fps = fps
        self.written = 0
        self._size = (0, 0)
        self._stack = ExitStack()
        self._writer: Any = None

    def write(self, pixels: np.ndarray) -> None:
        """Append a frame, uint8 [H, W, 3] RGB. Raises UserError if it cannot be written."""
        import cv2

        self._writer = self._writer or self._open(pixels.shape[1], pixels.shape[0])
        if shutil.disk_usage(self.path.parent).free < _SPARE:
            raise UserError(
                f"the disk of {self.path} is full after {self.written} frames: free some space"
            )
        with quiet_opencv():
            self._writer.write(cv2.cvtColor(fitted(pixels, *self._size), cv2.COLOR_RGB2BGR))
        self.written += 1

    def _open(self, width: int, height: int) -> Any:
        self._size = (width, height)
        # Undone if the writer does not open.
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_write(self.path))
            writer = open_writer(temporary, best_codec(), self.fps, self._size)
            stack.callback(self._finish, writer, temporary)
            self._stack = stack.pop_all()
        return writer

    def _finish(self, writer: Any, temporary: Path) -> None:
        """Check what was written, since OpenCV does not report a full disk."""
        with quiet_opencv():
            writer.release()
        if frame_count(temporary) < max(1, self.written):
            raise OSError("its frames did not arrive")

    def close(self) -> None:
        """Finish the file. Raises UserError if it did not fit on the disk; then there is none."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def fitted(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """The frame, uint8 [H, W, 3], scaled into this size with its aspect ratio, on grey."""
    import cv2

    h, w = pixels.shape[:2]
    if (w, h) == (width, height):
        return pixels
    scale = min(width / w, height / h)
    inner = (max(1, round(w * scale)), max(1, round(h * scale)))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas = np.full((height, width, 3), _GREY, np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(
        pixels, inner, interpolation=cv2.INTER_AREA
    )
    return canvas


@cache
def best_codec() -> str:
    """The first of CODECS that this machine's OpenCV can write, tried on a small file.

    Raises:
        UserError: There is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        for codec in CODECS:
            path = Path(folder) / f"{codec}.mp4"
            try:
                writer = open_writer(path, codec, 25, (64, 64))
            except OSError:
                continue
            with quiet_opencv():
                for value in (0, 255):
                    writer.write(np.full((64, 64, 3), value, np.uint8))
                writer.release()
            if frame_count(path) == 2:
                return codec
    raise UserError("this OpenCV writes no .mp4: pip install --force-reinstall opencv-python")


def open_writer(path: Path, codec: str, fps: float, size: tuple[int, int]) -> Any:
    """OpenCV's writer. size: (width, height). Raises OSError when it does not open."""
    with quiet_opencv():
        import cv2

        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, size)
    if not writer.isOpened():
        raise OSError(f"OpenCV opens no {codec} writer for it")
    return writer


def frame_count(path: Path) -> int:
    """Frames that a video file lists, if the first one can be read; else 0."""
    with quiet_opencv():
        import cv2

        capture = cv2.VideoCapture(str(path))
        count = 0
        if capture.isOpened() and capture.read()[0]:
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
    return count
