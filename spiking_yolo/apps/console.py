"""What commands print beside their results: progress bars, and lines above them.

How much it is, --quiet and --verbose say.
"""

import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import Any, TextIO

from tqdm import tqdm

from spiking_yolo.errors import Notice
from spiking_yolo.io.names import printable
from spiking_yolo.options import versions

# Seconds before a bar appears.
_PATIENCE = 2.0
_verbosity: ContextVar[int] = ContextVar("verbosity", default=0)


@contextmanager
def verbosity(level: int) -> Iterator[None]:
    """Print errors and warnings alone (-1), as usual (0), or also versions and the time (1)."""
    token, start = _verbosity.set(level), time.monotonic()
    with ExitStack() as stack:
        stack.callback(_verbosity.reset, token)
        if level < 0:
            stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore", Notice)
        if level > 0:
            names = [f"{name} {version}" for name, version in versions().items()]
            print(", ".join(names), file=sys.stderr)
        yield
    if level > 0:
        print(f"took {time.monotonic() - start:.1f} s", file=sys.stderr)


def is_verbose() -> bool:
    """Whether to print all there is, by --verbose."""
    return _verbosity.get() > 0


def write(text: str, file: TextIO | None = None) -> None:
    """Print a line above the bars, without control characters. file: stdout by default."""
    tqdm.write(printable(text), file=file)


class Bars:
    """Progress bars: one for each kind of work; none where stderr is a file, or by --quiet.

    An object is called as the `progress` of a study.

    Args:
        lines: Seconds between lines that stand for the bars in a file; None: no lines.
    """

    def __init__(self, lines: float | None = None) -> None:
        self._bars: dict[str, tqdm[Any]] = {}
        # None: where stderr is a file.
        self._disable = None
        self._lines = lines
        if sys.stderr.isatty():
            self._lines = None
        if _verbosity.get() < 0:
            self._disable, self._lines = True, None
        self._starts: dict[str, float] = {}
        self._last_line = time.monotonic()

    def __call__(self, what: str, done: int, total: int | None, remark: str = "") -> None:
        """Show that `done` of `total` (None: unknown) is done; at the end the bar disappears."""
        if what not in self._bars:
            self._bars[what] = tqdm(
                total=total, desc=what, delay=_PATIENCE, leave=False, disable=self._disable
            )
            self._starts[what] = time.monotonic()
        bar = self._bars[what]
        bar.set_postfix_str(remark, refresh=False)
        bar.update(done - bar.n)
        if done == total:
            self.close(what)
        if self._lines is not None and total is not None:
            self._print_line(what, done, total, self._lines)

    def _print_line(self, what: str, done: int, total: int, seconds: float) -> None:
        """Print how much is done and how long the rest takes, unless there was a line just now."""
        now = time.monotonic()
        if now - self._last_line < seconds:
            return
        self._last_line = now
        shape = "{desc}: {n_fmt} of {total_fmt}, {remaining} left"
        elapsed = now - self._starts[what]
        write(tqdm.format_meter(done, total, elapsed, prefix=what, bar_format=shape), sys.stderr)

    def close(self, *what: str) -> None:
        """Remove these bars, or all."""
        for name in what or tuple(self._bars):
            if (bar := self._bars.pop(name, None)) is not None:
                bar.close()
