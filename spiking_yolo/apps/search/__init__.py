"""Tune the numbers of a recipe on calibration images: space -> score -> study."""

from dataclasses import dataclass
from pathlib import Path

from spiking_yolo.options import ComputeOptions, LimitOptions, MethodOptions, ResumableOptions
from spiking_yolo.settings import setting


@dataclass(frozen=True, kw_only=True)
class SearchOptions(LimitOptions, MethodOptions, ComputeOptions, ResumableOptions):
    """On what a search judges recipes, and how many it tries."""

    title = "options"

    data: tuple[Path, ...] = setting(
        (), "photographs, folders, or a detection dataset (default: the samples)"
    )
    split: str | None = setting(
        None, "of a dataset (default: train2017 of a COCO folder, train of the others)"
    )
    limit: int = setting(8)
    seed: int = setting(0, "draws the images of --limit, and the recipes", 0)
    T: int = setting(16, "timesteps", 1)
    budget: int = setting(40, "recipes to try", 1)
    max_operations: float | None = setting(
        None, "synaptic operations allowed, in ANN MACs", above=0
    )
    project: Path = setting(Path("runs/search"))
