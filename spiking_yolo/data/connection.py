"""Opened videos and cameras, frame by frame with the time of each.

PyAV, which brings FFmpeg's libraries, reads every video. OpenCV opens the numbers of webcams: what
FFmpeg calls them differs from system to system.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from time import monotonic
from typing import Any, Self

import numpy as np

from spiking_yolo.data.sources import hidden, is_address, is_webcam
from spiking_yolo.errors import UserError, notice
from spiking_yolo.io.files import regular

UNKNOWN_FPS = 25.0
# An address must answer within so many seconds, and then send something at least so often.
PATIENCE, STALL = 30.0, 10.0
# FFmpeg's flag of formats that hold no times, such as the MJPEG of cameras.
WITHOUT_TIMES = 0x80


@dataclass(eq=False)
class Video:
    """An open video or camera, or images in a row.

    Attributes:
        name: The source.
        count: Frames that the file promises, None if unknown.
        fps: Frames per second, UNKNOWN_FPS if unknown.
        decoded: Frames as the library has them.
        pixels: Makes uint8 [H, W, 3] RGB of one of them.
        clock: The time of one of them in seconds from any start, None if it has none.
        position: Frames read so far, skipped ones included.
        time: When the last one is shown, in seconds from the first, and later than the one before.
        dropped: Frames of a camera that came while another was computed.
        anew: Whether the last one is the first since a camera was opened again.
        files: What is closed behind the last frame.
    """

    name: str
    count: int | None
    fps: float
    decoded: Iterable[Any]
    pixels: Callable[[Any], np.ndarray]
    clock: Callable[[Any], float | None] = lambda _: None
    position: int = 0
    time: float = 0.0
    dropped: int = 0
    anew: bool = False
    files: ExitStack = field(default_factory=ExitStack)

    def frames(self, every: int = 1) -> Iterator[np.ndarray]:
        """Every `every`-th frame, uint8 [H, W, 3] RGB. A video that breaks off gives a Notice.

        Raises:
            UserError: There is no frame at all.
        """
        with self.files:
            for frame in self.timed():
                self.position += 1
                if (self.position - 1) % every == 0:
                    yield self.pixels(frame)
        if self.position == 0:
            raise UserError(f"{self.name} has no frames: give a complete video, or images")
        # Some containers only estimate their length.
        if self.count and self.count - self.position > self.count // 100:
            said = f"{self.position} of {self.count} frames could be read, and only these count"
            notice(f"{self.name} breaks off: {said}")

    def timed(self) -> Iterator[Any]:
        """The frames as the library has them, while `time` has the time of each."""
        start = last = None
        for number, frame in enumerate(self.decoded):
            at = self.clock(frame)
            at = number / self.fps if at is None else at
            start = at if start is None else start
            # A container may begin to count again.
            if last is not None and at - start <= last:
                start = at - last - 1 / self.fps
            self.time = last = at - start
            yield frame

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.files.close()


def connect(source: str) -> Video:
    """Open a video file, an address or a webcam, once.

    Raises:
        UserError: It cannot be opened.
    """
    files = ExitStack()
    video = files.enter_context((_webcam if is_webcam(source) else _stream)(source))
    video.files = files
    return video


@contextmanager
def _stream(source: str) -> Iterator[Video]:
    import av

    timeout, options = (PATIENCE, STALL), {}
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
        raise _unreadable(source, error) from error
    with container:
        stream = next((s for s in container.streams.video if s.codec_context), None)
        if stream is None:
            raise _unreadable(source, "it holds no video")
        if not is_address(source):
            stream.thread_type = "AUTO"
        fps = float(stream.guessed_rate or UNKNOWN_FPS)
        seconds = (container.duration or 0) / av.time_base
        count = stream.frames or round(seconds * fps) or None
        clock: Callable[[Any], float | None] = attrgetter("time")
        if container.format.flags & WITHOUT_TIMES:
            clock = _arrival
        yield Video(source, count, fps, _decode(container, stream), _upright, clock)


def _arrival(_: Any) -> float:
    return monotonic()


def _unreadable(source: str, error: Exception | str) -> UserError:
    said = getattr(error, "strerror", None) or error
    if is_address(source):
        # FFmpeg calls it an exit.
        late = "nothing answers" if "exit" in str(said) else said
        return UserError(f"cannot open {hidden(source)}: {late}; check the address and the camera")
    if not os.path.exists(source):
        return UserError(f"{source} does not exist; check the path")
    if os.path.getsize(source) == 0:
        return UserError(f"the video {source} is empty: copy or record it again")
    return UserError(f"cannot open the video {source}: {said}; is it damaged, or no video?")


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
def _webcam(source: str) -> Iterator[Video]:
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
        yield Video(source, None, fps, grabbed(), lambda bgr: bgr[..., ::-1].copy(), _arrival)
    finally:
        capture.release()
