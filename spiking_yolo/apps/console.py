"""What verbs print beside their results: progress bars, lines above them, and the next command."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from spiking_yolo.io.assets import command
from spiking_yolo.io.names import printable, size_name
from spiking_yolo.settings import Options

_CARRIED = (  # options that make it the same network
    "weights", "cfg", "names", "imgsz", "trust_weights", "weight_bits", "statistics", "method",
    "settings",
)  # fmt: skip


def next_command(verb: str, options: Options, *words: str | Path, **changed: object) -> str:
    """ "next: spiking-yolo VERB WORDS --weights W", with the network of `options`.

    changed: other values of its options.
    """
    given = {name: changed.get(name, getattr(options, name, None)) for name in _CARRIED}
    flags = [word for name, value in given.items() if value for word in _typed(name, value)]
    return f"next: {command(verb)} {shlex.join([*map(str, words), *flags])}".rstrip()


def _typed(name: str, value: object) -> list[str]:
    """An option as it is typed."""
    if isinstance(value, Mapping):
        return [word for key, one in value.items() for word in ("--set", f"{key}={one}")]
    flag = f"--{name.replace('_', '-')}"
    return (
        [flag]
        if value is True
        else [flag, size_name(value) if isinstance(value, tuple) else str(value)]
    )


_PATIENCE = 2.0  # seconds before a bar appears


def write(text: str, file: TextIO | None = None) -> None:
    """Print a line above the bars, without what would command the terminal. file: stdout by
    default.
    """
    tqdm.write(printable(text), file=file)


class Bars:
    """One bar per kind of work, for the `progress` callbacks of the studies; nothing where stderr
    is a file.
    """

    def __init__(self) -> None:
        self._bars: dict[str, tqdm[Any]] = {}

    def __call__(self, what: str, done: int, total: int | None, remark: str = "") -> None:
        """`done` of `total` (None: unknown) of this work, whose bar goes once all is done."""
        if what not in self._bars:
            self._bars[what] = tqdm(
                total=total, desc=what, delay=_PATIENCE, leave=False, disable=None
            )
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
