"""How few digits per MAC any code of the activations needs, and how far the network is from that.

    spiking-yolo bound --data train2017
    spiking-yolo bound --data train2017 --operations 0.28,0.42 --points docs/results/stills.csv

The values of every layer and channel on photographs, and how much an error of each changes the
output, give the thresholds that need the fewest digits for an error of the output (equal slopes,
as in reverse water-filling), and what is left for other codes: the cheapest choice of digits, one
event per value whatever it carries, differences of neighbours, entropy coding;
docs/results/bound.md derives it. For each of --operations the network with such thresholds is run,
to compare its error with the prediction, and saved for `eval --weights`. PROJECT/NAME gets
bound.csv, bound.png and, with --points, accuracy.png: accuracy against digits per MAC.
"""

from dataclasses import dataclass
from pathlib import Path

from spiking_yolo.draw import FigureOptions
from spiking_yolo.io.assets import samples_folder
from spiking_yolo.options import LimitOptions, MethodOptions, OutputOptions
from spiking_yolo.settings import setting


@dataclass(frozen=True, kw_only=True)
class BoundOptions(LimitOptions, MethodOptions, FigureOptions, OutputOptions):
    """On which photographs, and for which budgets."""

    title = "options"

    data: tuple[Path, ...] = setting(
        (), "photographs, folders, or a detection dataset (default: the samples)"
    )
    split: str | None = setting(
        None, "of a dataset (default: train2017 of a COCO folder, train of the others)"
    )
    limit: int = setting(24, "use N photographs only, drawn by --seed", 1)
    operations: tuple[float, ...] = setting(
        (0.28, 0.42, 0.7), "digits per MAC of the networks that are run and saved", above=0
    )
    points: Path | None = setting(
        None,
        "csv file of measured accuracies, with columns name, digits, ap50, low, high: rows of one"
        " name are a line, a row without digits is a level, such as the ANN's",
    )
    project: Path = setting(Path("runs/bound"))


def main(options: BoundOptions) -> None:
    from spiking_yolo.apps.bound.figures import read_points
    from spiking_yolo.apps.bound.run import measure
    from spiking_yolo.apps.console import Bars
    from spiking_yolo.data.formats import open_photographs
    from spiking_yolo.data.images import Picture
    from spiking_yolo.io.run_folder import run_directory
    from spiking_yolo.options import drawn, load

    data = [str(path) for path in options.data or [samples_folder()]]
    listed = open_photographs(data, options.split, training=True)
    pictures = [Picture.file(path) for path in drawn(listed, options)]
    points = [] if options.points is None else read_points(options.points)
    converted = load(options, pictures)
    folder = run_directory(options.project, options.name)
    result = measure(converted, pictures, options.operations, options.seed, Bars())
    print(f"{result.title}, {len(pictures)} of {len(listed)} images\n")
    print(result.text())
    result.save(folder, points, options.figures)
    print(f"results saved to {folder}")
