"""Show where a conversion drifts from the original network: the error of every layer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from spiking_yolo.arguments import OUTPUT, WORDS, at_least
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import samples_folder
from spiking_yolo.options import LimitOptions, MethodOptions, OutputOptions


@dataclass(frozen=True, kw_only=True)
class AnalyzeOptions(LimitOptions, MethodOptions, OutputOptions):
    """The network and images to analyse, and for how long."""

    data: Annotated[tuple[Path, ...], WORDS] = ()
    """Photographs, folders, or a detection dataset (default: the samples)."""
    split: str | None = None
    """Split of a dataset (default: val2017 of a COCO folder, val of the others)."""
    limit: Annotated[int, at_least(1)] = 16
    """Use N images only, drawn by --seed."""
    T: Annotated[int, at_least(1)] = 64
    """Timesteps."""
    project: Annotated[Path, OUTPUT] = Path("runs/analyze")
    """Folder of all runs."""


def main(options: AnalyzeOptions = AnalyzeOptions()) -> None:
    """Show where a conversion drifts from the original network: the error of every layer.

    ```
    spiking-yolo analyze --method p-norm --T 64
    spiking-yolo analyze --data coco --limit 32 --method msat
    ```

    The error of each layer is split, element by element, into clipping, quantisation, a
    spike-inherent part and what it inherits from the layers below. --data takes photographs,
    folders, globs, a COCO folder, a VOCdevkit or a data.yaml; labels are not used. PROJECT/NAME
    gets layers.csv.
    """
    from spiking_yolo.apps.analyze.run import analyze
    from spiking_yolo.apps.console import Bars
    from spiking_yolo.data.datasets import draw
    from spiking_yolo.data.formats import open_photographs
    from spiking_yolo.io.distributed import usable_device
    from spiking_yolo.io.files import run_directory

    usable_device(options.device)
    data = list(map(str, options.data or [samples_folder()]))
    listed = open_photographs(data, options.split)
    photographs = draw(listed, options.limit, options.seed)
    converted = options.convert()
    recipe = converted.recipe
    if recipe.differential and not recipe.complete:
        raise UserError(
            f"{recipe.name} corrects its values over several steps, whose errors are not told"
            " apart: choose a method of rate coding, or signed-digits"
        )
    folder = run_directory(options.project, options.name)
    analysis = analyze(converted, photographs, options.T, options.device, Bars())
    print(f"{recipe.label}, T = {options.T}, {len(photographs)} of {len(listed)} images\n")
    print(analysis.text())
    analysis.save(folder)
    print(f"results saved to {folder}")
