"""Frames: of videos, webcams, folders and iterables; and videos that are written.

PyAV, which brings FFmpeg's libraries, reads every video and writes H.264, which browsers play.
OpenCV opens the numbers of webcams: what FFmpeg calls them differs from system to system.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from spiking_yolo.data.datasets import spread_first
from spiking_yolo.data.images import ImageSource, Picture, read_image
from spiking_yolo.data.sources import image_paths, is_address, is_stream, is_webcam
from spiking_yolo.errors import UserError, notice
from spiking_yolo.io.files import atomic_write, regular

UNKNOWN_FPS = 25.0
# An address must answer within so many seconds.
PATIENCE = 30.0
# One of so many frames of a video is previewed.
PREVIEW = 10
# Up to BLACK frames at the start give no thresholds while their pixels deviate by at most PLAIN.
BLACK, PLAIN = 250, 8.0
# This quality of H.264 has artefacts that are hard to see, in a quarter of the default's time.
X264 = {"crf": "20", "preset": "veryfast"}


@dataclass(eq=False)
class Video:
    """An open video or webcam, or images in a row.

    Attributes:
        name: The source.
        count: Frames that the file promises, None if unknown.
        fps: Frames per second, UNKNOWN_FPS if unknown.
        decoded: Frames as the library has them.
        pixels: Makes uint8 [H, W, 3] RGB of one of them.
        position: Frames read so far, skipped ones included.
        files: What is closed behind the last frame.
    """

    name: str
    count: int | None
    fps: float
    decoded: Iterable[Any]
    pixels: Callable[[Any], np.ndarray]
    position: int = 0
    files: ExitStack = field(default_factory=ExitStack)

    def frames(self, every: int = 1) -> Iterator[np.ndarray]:
        """Every `every`-th frame, uint8 [H, W, 3] RGB. A video that breaks off gives a Notice.

        Raises:
            UserError: There is no frame at all.
        """
        with self.files:
            for frame in self.decoded:
                self.position += 1
                if (self.position - 1) % every == 0:
                    yield self.pixels(frame)
        if self.position == 0:
            raise UserError(f"{self.name} has no frames: give a complete video, or images")
        # Some containers only estimate their length.
        if self.count and self.count - self.position > self.count // 100:
            said = f"{self.position} of {self.count} frames could be read, and only these count"
            notice(f"{self.name} breaks off: {said}")


FrameSource = str | os.PathLike[str] | int | np.ndarray | Video | Iterable[ImageSource]


def open_video(source: str) -> AbstractContextManager[Video]:
    """Open a video file, an address or a webcam.

    Raises:
        UserError: It cannot be opened.
    """
    return _open_webcam(source) if is_webcam(source) else _open_stream(source)


@contextmanager
def _open_stream(source: str) -> Iterator[Video]:
    import av

    timeout, options = PATIENCE, {}
    where = source
    if not is_address(source):
        # FFmpeg would wait for a pipe for ever.
        regular(source)
        # A playlist that is called .mp4 must not fetch anything.
        timeout, options = None, {"protocol_whitelist": "file"}
        where = os.path.abspath(source)
    try:
        container = av.open(where, options=options, timeout=timeout)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _unreadable(source) from error
    with container:
        stream = next((s for s in container.streams.video if s.codec_context), None)
        if stream is None:
            raise _unreadable(source)
        if not is_address(source):
            stream.thread_type = "AUTO"
        fps = float(stream.guessed_rate or UNKNOWN_FPS)
        seconds = (container.duration or 0) / av.time_base
        count = stream.frames or round(seconds * fps) or None
        yield Video(source, count, fps, _decode(container, stream), _upright)


def _unreadable(source: str) -> UserError:
    problem = "it does not exist, is damaged or of an unknown format, or nothing answers"
    return UserError(f"cannot open the video {source}: {problem}; check it")


def _decode(container: Any, stream: Any) -> Iterator[Any]:
    """The frames of a stream without those that are damaged, until it ends or breaks off."""
    from av import FFmpegError

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:
            packet = None
        if packet is None:
            return
        try:
            yield from packet.decode()
        except FFmpegError:
            continue


def _upright(frame: Any) -> np.ndarray:
    """A frame of PyAV as the file says that it is displayed."""
    pixels = frame.to_ndarray(format="rgb24", interpolation="BICUBIC")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


@contextmanager
def _open_webcam(source: str) -> Iterator[Video]:
    import cv2

    # OpenCV's messages would stand beside our UserError.
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(int(source))
    cv2.utils.logging.setLogLevel(level)

    def grabbed() -> Iterator[np.ndarray]:
        while (read := capture.read())[0]:
            yield read[1]

    try:
        if not capture.isOpened():
            raise UserError(f"cannot open webcam {source}: check that it is connected and free")
        fps = max(capture.get(cv2.CAP_PROP_FPS), 0) or UNKNOWN_FPS
        yield Video(source, None, fps, grabbed(), lambda bgr: bgr[..., ::-1].copy())
    finally:
        capture.release()


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
            files = ExitStack()
            video = files.enter_context(open_video(name))
            video.files = files
            return video
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


class VideoWriter:
    """Writes H.264 into an .mp4, which appears when it is closed, with the frames so far; without a
    frame there is none.

    The first frame sets the size (an odd last row or column is cut); others are stretched to it.
    Ctrl-C between encoding and writing would lose packets, such as the first frame, without which
    no other can be read: `write` belongs in a thread that Ctrl-C does not end.

    Args:
        path: Path of the file.
        fps: Frames per second.
    """

    def __init__(self, path: str | Path, fps: float):
        self.path = Path(path)
        # Files hold rates in such fractions, 30000/1001 as well as one frame in a day.
        self.rate = Fraction(fps).limit_denominator(100_000)
        self._size: tuple[int, int] | None = None
        self._stack = ExitStack()

    def write(self, pixels: np.ndarray) -> None:
        """Append a frame, uint8 [H, W, 3] RGB. Raises UserError if it cannot be written."""
        import cv2
        from av import VideoFrame

        height, width = (max(2, side - side % 2) for side in pixels.shape[:2])
        if self._size is None:
            self._size = (width, height)
            self._open(width, height)
        if (width, height) == self._size:
            pixels = pixels[:height, :width]
        else:
            pixels = cv2.resize(pixels, self._size, interpolation=cv2.INTER_AREA)
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
        with self._readable_errors():
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file. Raises UserError if it did not fit on the disk; then there is none."""
        self._stack.close()

    def _open(self, width: int, height: int) -> None:
        import av

        # The stack closes what is open again if the encoder does not start.
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_write(self.path))
            # A name such as "a:b" is not the address of a protocol.
            name, options = str(temporary.absolute()), {"movflags": "faststart"}
            self._container = av.open(name, "w", format="mp4", options=options)
            stream = self._container.add_stream("libx264", rate=self.rate, options=dict(X264))
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            self._stream = stream
            stack.callback(self._finish)
            self._stack = stack.pop_all()

    def _finish(self) -> None:
        """Write the packets that are left, and the index."""
        with self._readable_errors(), self._container:
            self._container.mux(self._stream.encode(None))

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        from av import FFmpegError

        try:
            yield
        except FFmpegError as error:
            said = f"cannot write {self.path}: {error.strerror}"
            raise UserError(f"{said}; check the folder and the free space") from error
