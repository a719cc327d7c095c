"""Videos that are written: H.264 in an .mp4, which browsers play, by PyAV."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write

# This quality has artefacts that are hard to see, in a quarter of the default's time. B-frames
# would end the file before its last frame.
X264 = {"crf": "20", "preset": "veryfast", "bf": "0"}
# The unit of the times of frames, in seconds: every usual rate is whole in it.
TICK = Fraction(1, 90_000)


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
        # The time of the first frame in seconds, and that of the last one in ticks since.
        self._start, self._ticks = 0.0, -1

    def write(self, pixels: np.ndarray, time: float | None = None) -> None:
        """Append a frame.

        Args:
            pixels: Uint8 [H, W, 3] RGB.
            time: When it is shown, in seconds; by default one period behind the last one.

        Raises:
            UserError: It cannot be written.
        """
        import cv2
        from av import VideoFrame

        height, width = (max(2, side - side % 2) for side in pixels.shape[:2])
        period = round(1 / (self.rate * TICK))
        if self._size is None:
            self._size = (width, height)
            self._open(width, height)
            self._start, self._ticks = time or 0.0, -period
        ticks = None if time is None else round((time - self._start) / TICK)
        self._ticks = max(self._ticks + 1, self._ticks + period if ticks is None else ticks)
        if (width, height) == self._size:
            pixels = pixels[:height, :width]
        else:
            pixels = cv2.resize(pixels, self._size, interpolation=cv2.INTER_AREA)
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
        frame.pts, frame.time_base = self._ticks, TICK
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
            stream.codec_context.time_base = TICK
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
