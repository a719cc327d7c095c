"""The options of scoring predictions. Imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spiking_yolo.errors import UserError
from spiking_yolo.settings import Options, setting


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(Options):
    """What was found, what is there, and by which rules the two are compared."""

    predictions: Path = setting(doc="boxes in COCO's results format, .json; of any detector")
    data: Path = setting(doc="annotation .json, COCO folder, VOCdevkit or data.yaml")
    split: str | None = setting(None, "of the data (default: val2017 or val)")
    year: int | None = setting(None, "of a VOCdevkit (default: its latest)")
    metric: Literal["auto", "coco", "voc"] = setting("auto", "mAP as COCO or VOC defines it; auto: by the data")
    bootstrap: int = setting(0, "95 % intervals by N resamplings of the images, e.g. 1000", 0)
    seed: int = setting(0, "of the bootstrap", 0)
    per_class: bool = setting(False, "print the AP of every class")
    output: Path | None = setting(None, "file to write the figures to, ending in .json")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output and self.output.suffix != ".json":
            raise UserError(f"--output must end in .json, not {self.output.name}")
