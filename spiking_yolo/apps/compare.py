"""Compare conversion methods on one network: one table and plots, methods x timesteps.

    spiking-yolo compare --data coco --method p-norm,channel-norm,msat --steps 8,16,32,64
    spiking-yolo compare --data coco --T 256 --limit 16

The same as `spiking-yolo eval` with several methods, by default all of them. PROJECT/NAME gets
comparison.csv, comparison.json, accuracy-T.png and accuracy-operations.png, and a folder for each
method; --resume goes on after an interruption. --bootstrap adds the difference of each method to
the first, with its 95 % interval on the same draws.
"""

from dataclasses import dataclass
from pathlib import Path

from spiking_yolo.apps import evaluate
from spiking_yolo.apps.evaluate import EvalOptions
from spiking_yolo.settings import setting


@dataclass(frozen=True, kw_only=True)
class CompareOptions(EvalOptions):
    """An evaluation of all methods."""

    methods: tuple[str, ...] = setting(
        ("all",), "methods or recipe.json files with commas; see --list-methods"
    )
    project: Path = setting(Path("runs/compare"))


def main(options: CompareOptions) -> None:
    evaluate.main(options)
