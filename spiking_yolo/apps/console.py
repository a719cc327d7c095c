"""What verbs print beside their results: progress bars, lines above them, and the next command.

How much it is, --quiet and --verbose say.
"""

import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from spiking_yolo.io.assets import command
from spiking_yolo.io.names import printable, size_name
from spiking_yolo.settings import Options, Setting, settings_of

# Options of where results go, which are not those of the next command.
_PLACES = ("project", "name", "output", "resume", "exist_ok")
# Seconds before a bar appears.
_PATIENCE = 2.0
_verbosity: ContextVar[int] = ContextVar("verbosity", default=0)


@contextmanager
def verbosity(level: int) -> Iterator[None]:
    """Print as much as --quiet (-1), neither (0) or --verbose (1) asks for."""
    token = _verbosity.set(level)
    try:
        yield
    finally:
        _verbosity.reset(token)


def is_verbose() -> bool:
    """Whether to print all there is, by --verbose."""
    return _verbosity.get() > 0


def next_command(
    verb: str,
    target: type[Options],
    options: Options,
    *words: str | Path,
    **changes: object,
) -> str:
    """The command that usually comes next: the same network, the same data, the same choices.

    Args:
        verb: Of the command.
        target: Class of its options. It takes those of `options` that it has too and that are not
            at their defaults.
        options: Of the verb that ends with it.
        words: First words of the command, such as an image.
        changes: Other values of options; None leaves one out.

    Example:
        >>> options = DetectOptions(("a.jpg",), method="msat", conf=0.4)
        >>> next_command("report", ReportOptions, options, "a.jpg")
        'next: spiking-yolo report a.jpg --conf 0.4 --method msat'
    """
    fields = settings_of(type(options))
    parts = [command(verb), *(shlex.quote(_as_file(str(word))) for word in words)]
    for name, entry in settings_of(target).items():
        value = changes.get(name)
        if name not in changes:
            if entry.positional or name in _PLACES or name not in fields:
                continue
            value = getattr(options, name)
            if value == fields[name].default:
                continue
        if value != entry.default and value is not None:
            parts.append(shlex.join(_typed(entry, value)))
    return "next: " + " ".join(part for part in parts if part)


def _as_file(word: str) -> str:
    """The name of a file that cannot be taken for an option."""
    return f"./{word}" if word.startswith("-") else word


def _typed(entry: Setting, value: Any) -> list[str]:
    """An option as it is typed."""
    if isinstance(value, Mapping):
        return [word for key, one in value.items() for word in ("--set", f"{key}={one}")]
    flag = "--method" if entry.name == "methods" else f"--{entry.name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag] if value else [f"--no-{flag[2:]}"]
    if entry.words:
        return [flag, *map(str, value)]
    if entry.many:
        return [flag, ",".join(map(str, value))]
    return [flag, size_name(value) if isinstance(value, tuple) else str(value)]


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
        quiet = _verbosity.get() < 0
        self._lines = None if quiet or sys.stderr.isatty() else lines
        # None: where stderr is a file.
        self._disable = True if quiet else None
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
