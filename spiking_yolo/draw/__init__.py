"""Pictures: boxes, heat maps, animations and figures. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Annotated, Literal

from spiking_yolo.arguments import OUTPUT, Options

FigureFormat = Literal["png", "pdf", "svg"]


@dataclass(frozen=True, kw_only=True)
class FigureOptions(Options):
    """How the figures of a command are saved."""

    figures: Annotated[FigureFormat, OUTPUT] = "png"
    """Also save every figure in this format."""
