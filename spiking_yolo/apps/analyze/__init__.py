"""The options of an analysis. Imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from spiking_yolo.draw import FigureOptions
from spiking_yolo.options import LimitOptions, MethodsOptions, OutputOptions
from spiking_yolo.settings import setting


@dataclass(frozen=True, kw_only=True)
class AnalyzeOptions(LimitOptions, MethodsOptions, FigureOptions, OutputOptions):
    """What is analysed, for how long, and how much error is too much."""

    title = "options"

    data: tuple[Path, ...] = setting(
        (), "photographs, folders, or a detection dataset (default: the samples)"
    )
    split: str | None = setting(
        None, "of a dataset (default: val2017 of a COCO folder, val of the others)"
    )
    limit: int = setting(16)
    T: int = setting(64, "timesteps", 1)
    tolerance: float = setting(0.1, "relative error that a layer may have", above=0)
    layer: str | None = setting(None, "layer whose neurons are sampled (default: the middle one)")
    project: Path = setting(Path("runs/analyze"))
