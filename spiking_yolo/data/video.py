"""Videos: anything that shows one picture after another as frames, and writing frames as .mp4."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sized
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from spiking_yolo.data.images import ImageSource, read_image
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


FrameSource = str | os.PathLike[str] | int | np.ndarray | Iterable[ImageSource]


class Frames(NamedTuple):
    """images: uint8 [H, W, 3] RGB; sizes may change. fps: 25 if unknown. total: None if unknown."""

    images: Iterator[np.ndarray]
    fps: float
    total: int | None


def frames_of(source: FrameSource) -> Frames:
    """The frames of a source, which is opened now and read on use.

    source: a video file; a webcam's number; a folder of images, in the order of the numbers in
    their names; an image; an array [n, H, W, 3]; or any iterable of arrays, files or PIL images
    (see `read_image`). Raises UserError for a source that cannot be opened, and while reading for
    one without frames and for a bad frame. A video that breaks off gives a Notice.
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
            raise UserError(
                f"{name} holds no frames: give a folder with {', '.join(sorted(IMAGES))}"
            )
        return Frames(_of_images(paths), UNKNOWN_FPS, len(paths))
    if isinstance(source, np.ndarray) and source.ndim < 4:
        source = [source]
    return Frames(
        _of_images(source), UNKNOWN_FPS, len(source) if isinstance(source, Sized) else None
    )


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


class VideoWriter:
    """An .mp4 that appears once it is closed, with the frames so far: also when Ctrl-C or an error
    ends the `with`.

    path: of the file; none appears without a frame. fps: frames per second. The first frame sets
    the size (its last row or column is cut where odd); others are fitted into it.
    """

    def __init__(self, path: str | Path, fps: float):
        self.path, self.fps, self.written = Path(path), fps, 0
        self._size = (0, 0)
        self._stack = ExitStack()
        self._writer: Any = None

    def write(self, pixels: np.ndarray) -> None:
        """Append a frame, uint8 [H, W, 3] RGB. Raises UserError, naming the file, when it cannot be
        written.
        """
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
        with ExitStack() as stack:  # undone when the writer does not open
            temporary = stack.enter_context(atomic_write(self.path))
            writer = open_writer(temporary, best_codec(), self.fps, self._size)
            stack.callback(self._finish, writer, temporary)
            self._stack = stack.pop_all()
        return writer

    def _finish(self, writer: Any, temporary: Path) -> None:
        """OpenCV does not say when a disk was full, so look at what arrived. `atomic_write` words
        the error.
        """
        with quiet_opencv():
            writer.release()
        if frame_count(temporary) < max(1, self.written):
            raise OSError("its frames did not arrive")

    def close(self) -> None:
        """Finish the file. Raises UserError, naming it, when it did not fit on the disk; then there
        is none.
        """
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
    """The frame, uint8 [H, W, 3], at this size: scaled with its aspect ratio kept, on grey. Itself
    where it fits.
    """
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
    """The first of CODECS that this machine's OpenCV writes, tried on a small file that is read
    back.

    Raises UserError when there is none.
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
        count = (
            int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            if capture.isOpened() and capture.read()[0]
            else 0
        )
        capture.release()
    return count
