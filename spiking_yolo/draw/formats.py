"""Formats that figures are saved in besides their own. Imports nothing heavy."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from spiking_yolo.settings import Options, setting

ALSO: ContextVar[str] = ContextVar("also", default="png")  # the format that is asked for


@dataclass(frozen=True, kw_only=True)
class FigureOptions(Options):
    """How figures are saved; the command line follows it for all that a verb draws."""

    title = "output"

    figures: Literal["png", "pdf", "svg"] = setting("png", "also save every figure in this format")
