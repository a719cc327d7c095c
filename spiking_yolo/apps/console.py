"""Progress bars, and lines above them, which commands print beside their results."""

import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from tqdm import tqdm

from spiking_yolo.errors import Notice
from spiking_yolo.io.text import printable

# Seconds before a bar appears.
_DELAY = 2.0
# Seconds after which a line says how far the work is, where stderr is a file.
_EVERY = 60.0


@contextmanager
def quiet() -> Iterator[None]:
    """Print errors and warnings alone."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)
        yield


def write(text: str, file: TextIO | None = None) -> None:
    """Print a line above the bars, without control characters. file: stdout by default."""
    tqdm.write(printable(text), file=file)


class Lines:
    """A line on stderr now and then, which says how long work of minutes still takes.

    The first comes with the first pieces from which the rest can be estimated: not with the very
    first one, which also sets up what the others need.
    """

    def __init__(self, what: str, done: int):
        self.what, self.first = what, done
        self.begin = self.last = time.monotonic()
        self.said = self.ready = False

    def update(self, done: int, total: int) -> None:
        """`done` pieces of `total` are done."""
        now = time.monotonic()
        if done > self.first and not self.ready:
            self.first, self.begin, self.ready = done, now, True
        if done <= self.first or now - self.begin < _DELAY:
            return
        rest = (now - self.begin) / (done - self.first) * (total - done)
        if now - self.last >= _EVERY or (not self.said and rest >= _EVERY):
            self.last, self.said = now, True
            write(f"{self.what}: {done} of {total}, about {duration(rest)} left", sys.stderr)
            sys.stderr.flush()


def duration(seconds: float) -> str:
    """A time in words.

    Example:
        >>> duration(40), duration(600), duration(7500)
        ('40 s', '10 min', '2 h 5 min')
    """
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Bars:
    """Progress bars: one for each kind of work; lines where stderr is a file, nothing by --quiet.

    An object is called as the `progress` of a study.
    """

    def __init__(self) -> None:
        self._bars: dict[str, tqdm[Any]] = {}
        self._lines: dict[str, Lines] = {}

    def __call__(self, what: str, done: int, total: int | None, remark: str = "") -> None:
        """Show that `done` of `total` (None: unknown) is done; at the end the bar disappears."""
        if what not in self._bars:
            # None disables the bar where stderr is a file.
            silent = getattr(sys.stdout, "name", "") == os.devnull
            off = silent or None
            self._bars[what] = tqdm(total=total, desc=what, delay=_DELAY, leave=False, disable=off)
            if self._bars[what].disable and not silent:
                self._lines[what] = Lines(what, done)
        bar = self._bars[what]
        if total is not None and what in self._lines:
            self._lines[what].update(done, total)
        bar.set_postfix_str(remark, refresh=False)
        bar.update(done - bar.n)
        if done == total:
            self.close(what)

    def close(self, *what: str) -> None:
        """Remove these bars, or all."""
        for name in what or tuple(self._bars):
            self._lines.pop(name, None)
            if (bar := self._bars.pop(name, None)) is not None:
                bar.close()
