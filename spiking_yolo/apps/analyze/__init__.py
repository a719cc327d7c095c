"""Explain a conversion: where the error of every layer comes from, and what to try."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from spiking_yolo.arguments import OUTPUT, WORDS, above, at_least
from spiking_yolo.draw import FigureOptions
from spiking_yolo.io.assets import samples_folder
from spiking_yolo.options import LimitOptions, MethodsOptions, OutputOptions


@dataclass(frozen=True, kw_only=True)
class AnalyzeOptions(LimitOptions, MethodsOptions, FigureOptions, OutputOptions):
    """The networks and images to analyse, for how long, and how much error is too much."""

    data: Annotated[tuple[Path, ...], WORDS] = ()
    """Photographs, folders, or a detection dataset (default: the samples)."""
    split: str | None = None
    """Of a dataset (default: val2017 of a COCO folder, val of the others)."""
    limit: Annotated[int, at_least(1)] = 16
    """Use N images only, drawn by --seed."""
    T: Annotated[int, at_least(1)] = 64
    """Timesteps."""
    tolerance: Annotated[float, above(0)] = 0.1
    """Relative error that a layer may have."""
    layer: str | None = None
    """Layer whose neurons are sampled, as conv 6 or layers_10_act (default: the middle one)."""
    project: Annotated[Path, OUTPUT] = Path("runs/analyze")
    """Folder of all runs."""


def main(options: AnalyzeOptions = AnalyzeOptions()) -> None:
    """Explain a conversion: where the error of every layer comes from, and what to try.

    ```
    spiking-yolo analyze --method p-norm --T 64
    spiking-yolo analyze --data coco --limit 32 --method msat,p-norm,coarse-to-fine --T 64
    ```

    The error of each layer is split, element by element, into clipping, quantisation, a
    spike-inherent part and what it inherits from the layers below. --data takes photographs,
    folders, globs, a COCO folder, a VOCdevkit or a data.yaml; labels are not used. Of several
    methods the first is analysed, and all are compared by their spikes and the error of their
    output. PROJECT/NAME gets layers.csv, analysis.json and the figures: error.png (error by layer),
    wrong-spikes.png (spikes of inactivated neurons over time), spikes.png (by layer, or by method)
    and, of a method whose thresholds change, threshold-time.png and threshold-activation.png (of
    sampled neurons of one layer).
    """
    from spiking_yolo.apps.analyze.run import explain
    from spiking_yolo.apps.console import Bars
    from spiking_yolo.data.formats import open_photographs
    from spiking_yolo.io.distributed import usable_device
    from spiking_yolo.io.run_folder import run_directory
    from spiking_yolo.options import drawn, load_all

    usable_device(options.device)
    data = [str(path) for path in options.data or [samples_folder()]]
    listed = open_photographs(data, options.split)
    photographs = drawn(listed, options)
    networks = load_all(options)
    folder = run_directory(options.project, options.name)
    explanation = explain(networks, photographs, options, Bars())
    print(f"{next(iter(networks))}, T = {options.T}, {len(photographs)} of {len(listed)} images\n")
    print(explanation.text())
    explanation.save(folder, options.figures)
    print(f"results saved to {folder}")
