"""Videos that are written, for browsers and notebooks where this machine has an encoder for them.

H.264 comes from PyAV (the extra "video"), from the program ffmpeg, or from OpenCV where its build
has it; else OpenCV writes VP9, which takes several times as long, and as the last resort MPEG-4
part 2, which browsers do not play. All are .mp4: the name of a file does not depend on the machine.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from spiking_yolo.data.sources import quiet_opencv
from spiking_yolo.errors import UserError, pip_install
from spiking_yolo.io.files import atomic_write

# Bytes of disk left for the index, which comes last and without which nothing plays.
_SPARE = 2**24
_GREY = 128
# Of H.264: a quality at which artefacts are hard to see, in a quarter of the default's time.
X264 = {"crf": "20", "preset": "veryfast"}
# Of frames per second: thousandths of odd rates, such as 30000/1001, and one frame in a day.
LARGEST_DENOMINATOR = 100_000


class Size(NamedTuple):
    """Pixels of a frame; both are even, as 4:2:0 colour needs."""

    width: int
    height: int


class Stream(Protocol):
    """A video file that is being written. Its methods raise OSError."""

    def write(self, pixels: np.ndarray) -> None:
        """Append a frame, uint8 [height, width, 3] RGB."""
        ...

    def close(self) -> None:
        """Write what is buffered, and the index."""
        ...


@dataclass(frozen=True)
class Encoder:
    """A way to write videos.

    Attributes:
        name: What messages call the codec.
        open: (path, frames per second, size) -> Stream; OSError or ImportError where it is missing.
        plays: Whether browsers play it.
    """

    name: str
    open: Callable[[Path, float, Size], Stream]
    plays: bool = True

    @property
    def remark(self) -> str:
        """What to say where its files are named: that they do not play, if so."""
        if self.plays:
            return ""
        return f"; browsers do not play {self.name}: {pip_install('video')}"


class VideoWriter:
    """A context manager that writes a video with the best encoder of this machine.

    The file appears on exit with the frames so far, also when Ctrl-C or an error ends the `with`;
    without a frame there is none. The first frame sets the size (an odd last row or column is cut);
    others are fitted into it.

    Args:
        path: Of the file, which ends in .mp4.
        fps: Frames per second.
    """

    def __init__(self, path: str | Path, fps: float):
        self.path = Path(path)
        self.fps = fps
        self.written = 0
        self._size = Size(0, 0)
        self._stack = ExitStack()
        self._stream: Stream | None = None

    def write(self, pixels: np.ndarray) -> None:
        """Append a frame, uint8 [H, W, 3] RGB. Raises UserError if it cannot be written."""
        height, width = pixels.shape[:2]
        if self._stream is None:
            self._size = Size(max(2, width - width % 2), max(2, height - height % 2))
            self._stream = self._open()
        if shutil.disk_usage(self.path.parent).free < _SPARE:
            raise UserError(
                f"the disk of {self.path} is full after {self.written} frames: free some space"
            )
        if (width - width % 2, height - height % 2) == self._size:
            pixels = pixels[: self._size.height, : self._size.width]
        try:
            self._stream.write(fitted(pixels, *self._size))
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror or error}; check the folder and the"
                " free space"
            ) from error
        self.written += 1

    def _open(self) -> Stream:
        # Undone if the encoder does not start.
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_write(self.path))
            # A name such as "a:b" is not the address of a protocol.
            stream = best_encoder().open(temporary.absolute(), self.fps, self._size)
            stack.callback(self._finish, stream, temporary)
            self._stack = stack.pop_all()
        return stream

    def _finish(self, stream: Stream, temporary: Path) -> None:
        """Check what was written, since not every encoder reports a full disk."""
        stream.close()
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


class PyAv:
    """H.264 by PyAV, which brings the libraries of FFmpeg.

    In a thread of its own: Ctrl-C ends the main thread wherever it is, and between encoding and
    writing it would lose the packets on their way, such as the first frame, without which no other
    can be read.
    """

    def __init__(self, path: Path, fps: float, size: Size):
        self._av = import_module("av")
        self._thread = ThreadPoolExecutor(1)
        options = {"movflags": "faststart"}
        self._container = self._checked(
            lambda: self._av.open(str(path), "w", format="mp4", options=options)
        )
        stream = self._checked(
            lambda: self._container.add_stream("libx264", rate=rate(fps), options=dict(X264))
        )
        stream.width, stream.height, stream.pix_fmt = size.width, size.height, "yuv420p"
        self._video = stream

    def write(self, pixels: np.ndarray) -> None:
        self._encode(self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24"))

    def close(self) -> None:
        try:
            self._encode(None)
        finally:
            self._checked(self._container.close)
            self._thread.shutdown()

    def _encode(self, frame: Any) -> None:
        """Write the packets that are complete with this frame; with None, all that are left."""
        self._checked(lambda: self._container.mux(self._video.encode(frame)))

    def _checked(self, call: Callable[[], Any]) -> Any:
        """What a call returns. Raises OSError for every error of the libraries."""
        try:
            return self._thread.submit(call).result()
        except self._av.FFmpegError as error:
            raise OSError(error.strerror or str(error)) from error


class FfmpegProgram:
    """H.264 by the program ffmpeg, which reads the frames from a pipe."""

    def __init__(self, path: Path, fps: float, size: Size):
        frames = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size.width}x{size.height}"]
        quality = [word for key, value in X264.items() for word in (f"-{key}", value)]
        encoding = ["-c:v", "libx264", *quality, "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
        source = [*frames, "-r", str(rate(fps)), "-i", "-"]
        self._process = subprocess.Popen(
            ["ffmpeg", "-v", "error", *source, *encoding, "-f", "mp4", "-y", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for us: this one finishes its file.
            start_new_session=True,
        )

    def write(self, pixels: np.ndarray) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(np.ascontiguousarray(pixels).data)

    def close(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        finally:
            status = self._process.wait()
        if status:
            raise OSError(f"ffmpeg ended with status {status}")


class OpenCv:
    """What OpenCV encodes. code: the four characters of the codec."""

    def __init__(self, code: str, path: Path, fps: float, size: Size):
        with quiet_opencv():
            import cv2

            self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), fps, size)
        if not self._writer.isOpened():
            raise OSError(f"OpenCV opens no {code} writer for it")

    def write(self, pixels: np.ndarray) -> None:
        import cv2

        with quiet_opencv():
            self._writer.write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        with quiet_opencv():
            self._writer.release()


def rate(fps: float) -> Fraction:
    """Frames per second as a fraction, as files hold it."""
    return Fraction(fps).limit_denominator(LARGEST_DENOMINATOR)


# The best first.
ENCODERS = (
    Encoder("H.264", PyAv),
    Encoder("H.264", FfmpegProgram),
    Encoder("H.264", partial(OpenCv, "avc1")),
    Encoder("VP9", partial(OpenCv, "vp09")),
    Encoder("MPEG-4 part 2", partial(OpenCv, "mp4v"), plays=False),
)


@cache
def best_encoder() -> Encoder:
    """The first of ENCODERS that works here, tried on a small file.

    Raises:
        UserError: There is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        for number, encoder in enumerate(ENCODERS):
            path = Path(folder) / f"{number}.mp4"
            # A writer may open and write nothing that plays, as OpenCV's does with a foreign
            # library for H.264.
            if writes(encoder, path) and frame_count(path) == 2:
                return encoder
    raise UserError(f"nothing here writes videos: {pip_install('video')}")


def writes(encoder: Encoder, path: Path) -> bool:
    """Whether an encoder takes two frames without an error."""
    try:
        stream = encoder.open(path, 25, Size(64, 64))
        for value in (0, 255):
            stream.write(np.full((64, 64, 3), value, np.uint8))
        stream.close()
    except (OSError, ImportError):
        return False
    return True


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
