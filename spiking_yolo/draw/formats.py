"""Formats that figures are saved in besides their own. Imports nothing heavy."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from spiking_yolo.settings import Options, setting

_ALSO: ContextVar[str] = ContextVar("also", default="png")


@dataclass(frozen=True, kw_only=True)
class FigureOptions(Options):
    """How figures are saved; the command line follows it for all that a verb draws."""

    title = "output"

    figures: Literal["png", "pdf", "svg"] = setting("png", "also save every figure in this format")


@contextmanager
def figures_as(kind: str) -> Iterator[None]:
    """Within it, every figure NAME.png is saved as NAME.pdf or NAME.svg too. kind: a choice of FigureOptions."""
    token = _ALSO.set(kind)
    try:
        yield
    finally:
        _ALSO.reset(token)


def also() -> str:
    """The format that is asked for; "png" for no other."""
    return _ALSO.get()
