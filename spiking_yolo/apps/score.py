"""Score boxes that are there already, of whatever detector, by COCO's or VOC's rule. No network is
needed.

    spiking-yolo score --predictions dt.json --data instances_val2017.json
    spiking-yolo score --predictions dt.json --data VOCdevkit --year 2012 --metric voc
    spiking-yolo score --predictions runs/eval/exp/predictions_1.json --data coco --per-class

The predictions are a list in COCO's results format: {"image_id", "category_id", "bbox": [x, y,
width, height], "score"}. Images and categories are called by their ids in the annotation file, or
by the names of the files, without suffix, and of the classes. For data without such a file `eval`
writes one, instances.json, beside its predictions.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spiking_yolo.errors import UserError
from spiking_yolo.settings import Options, setting


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(Options):
    """What was found, what is there, and by which rule."""

    title = "options"

    predictions: Path = setting(doc="boxes that were found, a .json in COCO's results format")
    data: Path = setting(
        doc="COCO folder, annotation .json (without photographs), VOCdevkit, or data.yaml"
    )
    split: str | None = setting(
        None, "of the data (default: val2017 of a COCO folder, val of the others)"
    )
    year: int | None = setting(None, "of a VOCdevkit (default: its latest)")
    metric: Literal["coco", "voc"] = setting("coco", "mAP as COCO or VOC defines it")
    per_class: bool = setting(False, "print the AP50 of every class")
    bootstrap: int = setting(0, "95 % intervals by N resamplings of the images, e.g. 1000", 0)
    seed: int = setting(0, "draws the bootstrap", 0)
    output: Path | None = setting(None, "write the figures to this .json")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output is not None and self.output.suffix != ".json":
            raise UserError(f"--output {self.output} must end in .json: it gets the figures")


def main(options: ScoreOptions) -> None:
    """Score, print and save."""
    from spiking_yolo.apps.score_run import score

    found = score(options)
    print("".join(f"{note}\n" for note in found.notes) + found.text(options.per_class))
    if options.output is not None:
        found.save(options.output)
        print(f"\nfigures saved to {options.output}")
