"""Training of detectors and classifiers. The options, which are here, import nothing heavy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from spiking_yolo.arguments import SIZE, Options, above, at_least
from spiking_yolo.errors import UserError
from spiking_yolo.io.text import Size

DETECTORS = ("yolov1",)
# Values of the options that are None.
DEFAULTS = {"detect": {"batch": 16, "lr": 1e-3}, "classify": {"batch": 128, "lr": 0.1}}


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Options):
    """What is trained, on what, how, and where it goes."""

    task: Literal["detect", "classify"]
    """What the network does."""
    model: str
    """Detectors: yolov1; classifiers: resnet20, vgg16, vgg_thin."""
    data: Path
    """A detection dataset as eval reads it, such as a data.yaml; or folders SPLIT/CLASS/."""
    split: str | None = None
    """Split to train on (default: train, or train2017 of a COCO folder)."""
    val_split: str | None = None
    """Split to validate on (default: val, val2017 of a COCO folder, or test)."""
    activation: Literal["relu", "leaky", "clip", "qcfs"] = "relu"
    """Behind every layer but the last."""
    levels: Annotated[int, at_least(1)] = 8
    """Levels of QCFS."""
    pool: Literal["max", "avg"] | None = None
    """Pooling (default: max)."""
    imgsz: Annotated[Size, SIZE, Parameter(show_default=False)] = (320, 320)
    """Input in pixels, 416 or HEIGHTxWIDTH (288x416): multiples of 32 (default: 320)."""
    epochs: Annotated[int, at_least(1)] = 60
    """Passes over the data."""
    batch: Annotated[int | None, at_least(1)] = None
    """Images per step and process (default: 16 for detectors, 128 for classifiers)."""
    lr: Annotated[float | None, above(0)] = None
    """Peak learning rate (default: .001 for detectors, .1 for classifiers)."""
    seed: Annotated[int, at_least(0)] = 0
    """Seed of everything that is random."""
    init: Path | None = None
    """Start from yolov3-tiny.weights or from a checkpoint."""
    device: str = "auto"
    """auto, cpu, cuda."""
    workers: Annotated[int, at_least(0)] = 1
    """Processes that augment photographs."""
    calibrate: Annotated[bool, Parameter(negative="--no-calibrate")] = True
    """Calibrate the default method at the end, on training images; --no-calibrate: leave that
    of the default method to `calibrate`.
    """
    project: Path = Path("runs/train")
    """Folder of all trainings."""
    name: str = "exp"
    """Folder inside the project."""
    resume: Path | None = None
    """Go on with an interrupted training: its folder."""

    def __post_init__(self) -> None:
        if (self.task == "detect") != (self.model in DETECTORS):
            fits = f"--task detect trains {', '.join(DETECTORS)}, --task classify the others"
            raise UserError(f"--model {self.model} does not fit --task {self.task}: {fits}")
        for name, default in DEFAULTS[self.task].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)

    @property
    def folder(self) -> Path:
        """The folder that everything is written to."""
        return self.resume or self.project / self.name
