"""Options of `eval`. Imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from spiking_yolo.arguments import BOXES, COMMAS, OUTPUT, at_least, within
from spiking_yolo.draw import FigureOptions
from spiking_yolo.errors import UserError
from spiking_yolo.metrics.energy import SRAM, Account, every_account
from spiking_yolo.options import (
    DetectionOptions,
    LimitOptions,
    MethodsOptions,
    ResumableOptions,
    ordered_steps,
)

# Timesteps where nothing is said.
LONGEST = 64


@dataclass(frozen=True, kw_only=True)
class EvalOptions(DetectionOptions, LimitOptions, MethodsOptions, FigureOptions, ResumableOptions):
    """Which networks, which data, which rows and columns."""

    data: Path | None = None
    """COCO folder, annotation .json, VOCdevkit or data.yaml; images in SPLIT/CLASS/; a video, or
    folders of MOTChallenge (default: the sample photographs).
    """
    split: str | None = None
    """Of the data (default: val2017 or val; of classes test, or val)."""
    images: Path | None = None
    """Folder of images of an annotation .json (default: beside it)."""
    year: Annotated[int | None, at_least(0)] = None
    """Of a VOCdevkit (default: its latest)."""
    predictions: Path | None = None
    """Score these boxes, a .json in COCO's results format, and run no network."""
    metric: Literal["auto", "coco", "voc", "accuracy"] = "auto"
    """mAP as COCO or VOC defines it, or accuracy of classes; auto: by the data."""
    limit: Annotated[int | None, at_least(1)] = None
    """Use N images only, drawn by --seed; of each video the first N frames."""
    seed: Annotated[int, at_least(0)] = 0
    """Draws the images of --limit, and the bootstrap."""
    T: Annotated[int | None, at_least(1)] = None
    """Timesteps (default: the last of --steps, or 64; of a frame 1)."""
    steps: Annotated[tuple[int, ...], at_least(1), COMMAS] = ()
    """Timesteps that are reported (default: powers of two)."""
    batch: Annotated[int | None, at_least(1)] = None
    """Images simulated together (default: of a detector 4 up to 320x320 and 1 above, of a
    classifier 25,000 pixels).
    """
    refresh: Annotated[int, at_least(0)] = 0
    """Of videos: start anew after N frames; 0: only at the first and at a cut."""
    baseline: bool = False
    """A row of the 8-bit ANN, and where both take the same energy."""
    bootstrap: Annotated[int, within(0, 100000)] = 0
    """95 % intervals by N resamplings, e.g. 1000, also of the differences to the ANN and to the
    first method.
    """
    per_class: bool = False
    """Print the accuracy of every class."""
    sram_energy: Annotated[float, within(0.01, 10000.0)] = SRAM
    """pJ per byte that is read or written; larger memories cost more."""
    conf: Annotated[float, within(0, 1), BOXES] = 0.001
    """Smallest confidence."""
    max_det: Annotated[int, at_least(1), BOXES] = 100
    """Boxes per image."""
    project: Annotated[Path, OUTPUT] = Path("runs/eval")
    """Folder of all runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "steps", ordered_steps(self.steps, self.T))
        if self.predictions and not self.data:
            raise UserError("--predictions needs --data, the objects that are there")
        if self.metric == "accuracy" and self.weights is None:
            raise UserError(
                "the default network is a detector, which gives images no class: give a classifier,"
                " such as --weights resnet20, vgg16 or vgg-thin of a checkout (CIFAR-10), or one of"
                " your own"
            )

    @property
    def timesteps(self) -> tuple[int, ...]:
        """The timesteps that are reported, ascending; the last one is T."""
        T = self.T or max(self.steps, default=LONGEST)
        return tuple(sorted({*(self.steps or [2**k for k in range(31) if 2**k < T]), T}))

    @property
    def accounts(self) -> tuple[Account, ...]:
        """Models of energy."""
        return every_account(self.sram_energy)
