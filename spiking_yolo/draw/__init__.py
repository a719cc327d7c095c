"""Pictures: boxes, heat maps, animations and figures. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Literal

from spiking_yolo.settings import Options, setting

FigureFormat = Literal["png", "pdf", "svg"]


@dataclass(frozen=True, kw_only=True)
class FigureOptions(Options):
    """How the figures of a verb are saved."""

    title = "output"

    figures: FigureFormat = setting("png", "also save every figure in this format")
