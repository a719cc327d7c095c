"""Progress bars, and lines above them, which commands print beside their results."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from tqdm import tqdm

from spiking_yolo.errors import Notice
from spiking_yolo.io.text import printable

# Seconds before a bar appears.
_DELAY = 2.0


@contextmanager
def quiet() -> Iterator[None]:
    """Print errors and warnings alone."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)
        yield


def write(text: str, file: TextIO | None = None) -> None:
    """Print a line above the bars, without control characters. file: stdout by default."""
    tqdm.write(printable(text), file=file)


class Bars:
    """Progress bars: one for each kind of work; none where stderr is a file, or by --quiet.

    An object is called as the `progress` of a study.
    """

    def __init__(self) -> None:
        self._bars: dict[str, tqdm[Any]] = {}

    def __call__(self, what: str, done: int, total: int | None, remark: str = "") -> None:
        """Show that `done` of `total` (None: unknown) is done; at the end the bar disappears."""
        if what not in self._bars:
            # None disables the bar where stderr is a file.
            off = getattr(sys.stdout, "name", "") == os.devnull or None
            self._bars[what] = tqdm(total=total, desc=what, delay=_DELAY, leave=False, disable=off)
        bar = self._bars[what]
        bar.set_postfix_str(remark, refresh=False)
        bar.update(done - bar.n)
        if done == total:
            self.close(what)

    def close(self, *what: str) -> None:
        """Remove these bars, or all."""
        for name in what or tuple(self._bars):
            if (bar := self._bars.pop(name, None)) is not None:
                bar.close()
