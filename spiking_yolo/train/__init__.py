"""Training of detectors and classifiers. The options, which are here, import nothing heavy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from spiking_yolo.arguments import SIZE, Options, above, at_least, within
from spiking_yolo.errors import UserError
from spiking_yolo.io.names import Size

DETECTORS = ("yolov1",)
# Of the options that are None.
DEFAULTS: dict[str, dict[str, Any]] = {
    "detect": {"batch": 16, "lr": 1e-3, "optimizer": "adamw", "weight_decay": 0.05, "warmup": 0.05},
    "classify": {"batch": 128, "lr": 0.1, "optimizer": "sgd", "weight_decay": 5e-4, "warmup": 0.2},
}


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Options):
    """What is trained, on what, how, and where it goes."""

    task: Literal["detect", "classify"]
    """What the network does."""
    model: str
    """Detectors: yolov1; classifiers: resnet20, vgg16, vgg_thin, torchvision:NAME."""
    data: Path
    """VOCdevkit or data.yaml; CIFAR folder or archive."""
    split: str | None = None
    """Split to train on (default: train, or train2017 of a COCO folder)."""
    val_split: str | None = None
    """Split to validate on (default: val, val2017 of a COCO folder, or test for CIFAR)."""
    year: Annotated[int | None, at_least(0)] = None
    """Year of a VOCdevkit (default: its latest)."""
    val_every: Annotated[int, at_least(0)] = 5
    """Epochs between validations; 0: at the end only."""
    mosaic: Annotated[float, within(0, 1)] = 0.5
    """Probability of four photographs in one."""
    cache: Annotated[bool, Parameter(negative="--no-cache")] = True
    """Photographs are decoded once and kept in memory; --no-cache: decode photographs every
    time.
    """
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
    """Images per step and process."""
    lr: Annotated[float | None, above(0)] = None
    """Peak learning rate."""
    optimizer: Literal["adamw", "sgd"] | None = None
    """SGD with momentum, or AdamW."""
    weight_decay: Annotated[float | None, within(0, 1e9)] = None
    """Weight decay of matrices and kernels."""
    warmup: Annotated[float | None, within(0, 1)] = None
    """Share of the training in which the rate rises."""
    seed: Annotated[int, at_least(0)] = 0
    """Seed of everything that is random."""
    init: Path | None = None
    """Start from yolov3-tiny.weights or from a checkpoint."""
    device: str = "auto"
    """auto, cpu, cuda."""
    bf16: Literal["auto", "on", "off"] = "auto"
    """Autocast to bfloat16."""
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
    """Go on with an interrupted training: its folder, or latest for PROJECT/NAME."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task == "detect" and self.model not in DETECTORS:
            raise UserError(
                f"--model {self.model} is no detector that can be trained here: --task detect"
                f" trains {', '.join(DETECTORS)}, --task classify the others"
            )
        if self.task == "classify" and self.model in DETECTORS:
            raise UserError(f"--model {self.model} is a detector: give --task detect")
        for name, default in DEFAULTS[self.task].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        if self.resume in (None, Path("latest")):
            return self.project / self.name
        return self.resume
