"""Tune the numbers of a conversion method for one network: thresholds, also per layer, bursts,
MSAT's constants.

    spiking-yolo search --data coco --T 1 --budget 40
    spiking-yolo search --data photographs --method msat-plus --T 16 --budget 80 --max-operations 3

Every recipe that is tried runs on --limit calibration images; the error of the network's output
against the ANN after T steps is made small, within an optional limit on synaptic operations. Needs
the extra `search` and the statistics that `calibrate` takes. PROJECT/NAME gets recipe.json, which
every verb takes as --method, and trials.csv; --resume, with the same arguments, goes on after an
interruption, or with a larger budget.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spiking_yolo.io.assets import samples_folder
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


def main(options: SearchOptions) -> None:
    from spiking_yolo.apps.console import Bars, next_command
    from spiking_yolo.apps.evaluate import EvalOptions
    from spiking_yolo.apps.search.study import TRIALS, first_recipe, search
    from spiking_yolo.convert.load import load_statistics
    from spiking_yolo.data.formats import format_of, open_photographs
    from spiking_yolo.io.distributed import usable_device
    from spiking_yolo.options import load_ann, simulation, study_folder

    start = first_recipe(options)
    usable_device(options.device)
    data = [str(path) for path in options.data or [samples_folder()]]
    photographs = open_photographs(data, options.split, training=True)
    ann = load_ann(options)
    statistics = load_statistics(ann, options.statistics)
    folder = study_folder(options, TRIALS)
    how = simulation(options, options.device)
    result = search(ann, statistics, start, photographs, folder, options, how, Bars())
    result.save(folder)
    print(result.text())
    print(f"the recipe is saved to {folder / 'recipe.json'}")
    # Others are photographs, which have no labels to be scored by.
    labelled = len(options.data) == 1 and format_of(options.data[0]) is not None
    changes: dict[str, Any] = {"T": options.T, "split": None, "limit": None, "seed": None}
    changes["data"] = options.data[0] if labelled else None
    recipe = (str(folder / "recipe.json"),)
    print(next_command("eval", EvalOptions, options, methods=recipe, settings={}, **changes))
