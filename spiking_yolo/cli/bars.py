"""Progress bars on a terminal, and lines that are printed above them."""

from typing import Any, TextIO

from tqdm import tqdm

from spiking_yolo.io.names import shown

_PATIENCE = 2.0  # seconds before a bar appears


def write(text: str, file: TextIO | None = None) -> None:
    """Print a line above the bars, without what would command the terminal. file: stdout by default."""
    tqdm.write(shown(text), file=file)


class Bars:
    """One bar per kind of work, for the `progress` callbacks of the studies; nothing where stderr is a file."""

    def __init__(self) -> None:
        self._bars: dict[str, tqdm[Any]] = {}

    def __call__(self, what: str, done: int, total: int | None, remark: str = "") -> None:
        """`done` of `total` (None: unknown) of this work, whose bar goes once all is done."""
        if what not in self._bars:
            self._bars[what] = tqdm(total=total, desc=what, delay=_PATIENCE, leave=False, disable=None)
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
