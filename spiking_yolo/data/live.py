"""A camera that runs for months: what it sends while a frame is computed is dropped, and when it
drops out it is opened again.
"""

from collections.abc import Callable, Iterator
from functools import partial
from threading import Condition, Event, Thread, current_thread
from time import monotonic, strftime
from typing import Any
from weakref import finalize

import numpy as np

from spiking_yolo.data.connection import UNKNOWN_FPS, Video, connect
from spiking_yolo.data.sources import hidden, is_address, is_webcam
from spiking_yolo.errors import UserError, notice

# Pauses before a camera is opened again, in seconds; the last one repeats.
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
# The camera's clock may be so many seconds from ours before it is set anew.
APART = 2.0
# Times differ by at least so many seconds.
TINY = 1e-3
# Whether the thread still runs is looked at every so many seconds, and it has as long to end.
LOOK = 1.0


def is_camera(source: str, video: Video | None = None) -> bool:
    """Whether it is a webcam, or an address of what has no end, as far as is known."""
    return is_webcam(source) or (is_address(source) and (video is None or video.count is None))


class Live(Video):
    """A camera. A thread reads it, keeps the newest frame, and opens it again when it drops out.

    The frames of a video come when they are due, and it ends.

    Args:
        source: Its address or number.
        first: What is open already.
        retries: Give up after so many failures in a row; None: never.
        wake: Set when there is a frame, or the end.

    Closing it ends what waits for a frame at once, and the thread, which is given a moment to free
    the camera. At the exit of the interpreter it is closed as well.
    """

    def __init__(
        self,
        source: str,
        first: Video | None = None,
        retries: int | None = None,
        wake: Event | None = None,
    ):
        super().__init__(hidden(source), None, first.fps if first else UNKNOWN_FPS, (), np.asarray)
        self._source, self._retries = source, retries
        self._wake, self._changed, self._stop = wake or Event(), Condition(), Event()
        # The newest frame that was not taken: its number, its time, whether it is the first since
        # the camera was opened again, and how to get its pixels.
        self._newest: tuple[int, float, bool, Callable[[], np.ndarray]] | None = None
        # The first frame that is wanted, then one of so many; the frames that came.
        self._due, self._every, self._number = 0, 1, 0
        # Whether it was opened again since a frame was kept; times at the start and of the last.
        self._again, self._began, self._last = False, monotonic(), -TINY
        self._end: BaseException | bool = False
        self._thread = Thread(target=self._read, args=(first,), daemon=True)
        how = self._thread, self._stop, self._changed, self._wake
        self.files.callback(finalize(self, _close, *how))
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether the next frame, or the end, is there."""
        # The thread is no more in a process that was forked.
        ended = self._end is not False or self._stop.is_set() or not self._thread.is_alive()
        return self._newest is not None or ended

    def frames(self, every: int = 1) -> Iterator[np.ndarray]:
        """The newest frame whenever one is asked for, uint8 [H, W, 3] RGB.

        every: Only one of so many frames of the camera may be it.

        Raises:
            UserError: There was none at all, or the camera was away for too long.
        """
        self._every = every
        with self:
            while (pixels := self._take()) is not None:
                yield pixels()
            if self._stop.is_set():
                return
        if isinstance(self._end, BaseException):
            raise self._end
        if self.position == 0:
            raise UserError(f"{self.name} has no frames: give a complete video, or images")

    def _take(self) -> Callable[[], np.ndarray] | None:
        with self._changed:
            while not self._changed.wait_for(lambda: self.ready, LOOK):
                pass
            if self._newest is None or self._stop.is_set():
                return None
            number, self.time, self.anew, pixels = self._newest
            self.position, self._due, self._newest = number + 1, number + self._every, None
        return pixels

    def _read(self, first: Video | None) -> None:
        """What the thread does."""
        end: BaseException | bool = True
        try:
            self._connections(first)
        except BaseException as error:
            end = error
        with self._changed:
            self._end = end
            self._changed.notify_all()
        self._wake.set()

    def _connections(self, video: Video | None) -> None:
        """Take the frames of one connection after the other."""
        failures, away, camera = 0, False, True
        while not self._stop.is_set():
            problem = f"{self.name} sends nothing any more"
            try:
                with video or connect(self._source) as video:
                    camera = is_camera(self._source, video)
                    for frame in self._timed(video, camera):
                        if away:
                            notice(f"{self.name} is back at {strftime('%X')}")
                        failures, away = 0, False
                        self._offer(partial(video.pixels, frame))
            except UserError as error:
                problem = hidden(str(error))
            if self._stop.is_set() or not camera:
                return
            failures, away, video = failures + 1, True, None
            if self._retries is not None and failures > self._retries:
                raise UserError(f"{problem}; it was opened again {self._retries} times in vain")
            pause = PAUSES[min(failures, len(PAUSES)) - 1]
            notice(f"{strftime('%X')}: {problem}; it is opened again in {pause:g} s")
            self._again = self._number > 0
            self._stop.wait(pause)

    def _timed(self, video: Video, camera: bool) -> Iterator[Any]:
        """The frames of a connection, each when it is due, until there is no more use for them."""
        offset: float | None = None
        for frame in video.timed():
            now = monotonic() - self._began
            if not camera:
                offset = 0.0
                self._stop.wait(max(video.time - now, 0.0))
            elif offset is None or abs(offset + video.time - now) > APART:
                offset = now - video.time
            if self._stop.is_set():
                return
            self._last = max(offset + video.time, self._last + TINY)
            yield frame

    def _offer(self, pixels: Callable[[], np.ndarray]) -> None:
        """Keep a frame if it is one of those that are wanted."""
        with self._changed:
            late = self._number - self._due
            if late >= 0 and late % self._every == 0:
                if self._newest is not None:
                    self.dropped += 1
                    self._again |= self._newest[2]
                self._newest = self._number, self._last, self._again, pixels
                self._again = False
            self._number += 1
            self._changed.notify_all()
        self._wake.set()


def _close(thread: Thread, stop: Event, changed: Condition, wake: Event) -> None:
    with changed:
        stop.set()
        changed.notify_all()
    wake.set()
    # A generator that nobody uses any more is closed by whatever thread finds it.
    if thread is not current_thread():
        thread.join(LOOK)
