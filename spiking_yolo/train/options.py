"""The options of a training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spiking_yolo.draw import FigureOptions
from spiking_yolo.errors import UserError
from spiking_yolo.io.names import Size
from spiking_yolo.settings import Options, setting

DETECTORS = ("yolov1",)


@dataclass(frozen=True, kw_only=True)
class OptimisationOptions(Options):
    """How the weights are found. None: the task's own default, see DEFAULTS."""

    title = "optimisation (defaults depend on the task)"

    epochs: int | None = setting(
        None, "passes over the data (default: 60, or as planned where --resume goes on)", 1
    )
    batch: int | None = setting(None, "images per step and process", 1)
    lr: float | None = setting(None, "peak learning rate", above=0)
    optimizer: Literal["adamw", "sgd"] | None = setting(None, "sgd with momentum, or AdamW")
    weight_decay: float | None = setting(None, "of matrices and kernels", 0)
    warmup: float | None = setting(None, "share of the training in which the rate rises", 0, 1)
    ema: float = setting(0.998, "decay of the averaged weights", 0, 1)
    seed: int = setting(0, "of everything that is random", 0)
    save_every: float = setting(
        5.0, "minutes between checkpoints within an epoch; 0: after every step", 0
    )


@dataclass(frozen=True, kw_only=True)
class ArchitectureOptions(Options):
    """What the network is made of."""

    title = "network"

    activation: Literal["relu", "leaky", "clip", "qcfs"] = setting(
        "relu", "behind every layer but the last"
    )
    levels: int = setting(8, "of QCFS", 1)
    pool: Literal["max", "avg"] | None = setting(None, "pooling (default: max)")
    anneal: float = setting(0.0, "share of training from leaky ReLU to ReLU", 0, 1)
    imgsz: Size = setting(
        (320, 320), "input in pixels, 416 or HEIGHTxWIDTH (288x416): multiples of 32"
    )
    linear: bool = setting(False, "published linear head instead of the logistic one")


@dataclass(frozen=True, kw_only=True)
class DataOptions(Options):
    """Images, their augmentation, and how often the network is validated."""

    title = "data and validation"

    split: str = setting("train", "to train on")
    val_split: str | None = setting(
        None, "to validate on (default: val, val2017 of a COCO folder, or test for CIFAR)"
    )
    year: str = setting("2012", "of a VOCdevkit")
    fraction: float = setting(
        1.0, "train on this share of the images, drawn by --seed", high=1, above=0
    )
    holdout: float = setting(0.0, "validate on this share of the training split", 0, 0.99)
    val_every: int = setting(5, "epochs between validations; 0: at the end only", 0)
    mosaic: float = setting(0.5, "probability of four photographs in one", 0, 1)
    giou: float = setting(2.0, "weight of 1 - GIoU in the loss", 0)
    ignore: float = setting(0.6, "IoU above which a box need not be empty", 0, 1)
    cutout: int = setting(0, "side of the square cut out of CIFAR images, pixels", 0)
    cache: bool = setting(
        True,
        "photographs are decoded once and kept in memory; --no-cache: decode photographs every"
        " time",
    )


@dataclass(frozen=True, kw_only=True)
class TrainOptions(OptimisationOptions, ArchitectureOptions, DataOptions, FigureOptions):
    """What is trained, on what, and where it goes."""

    title = "options"

    task: Literal["detect", "classify"] = setting(doc="what the network does")
    model: str = setting(
        doc=f"detectors: {', '.join(DETECTORS)}; classifiers: resnet20, vgg16, vgg_thin,"
        " torchvision:NAME"
    )
    data: Path = setting(doc="VOCdevkit or data.yaml; CIFAR folder or archive")
    project: Path = setting(Path("runs/train"), "folder of all trainings")
    name: str = setting("exp", "folder inside the project")
    resume: Path | None = setting(
        None, "go on with an interrupted training: its folder, or latest for PROJECT/NAME"
    )
    init: Path | None = setting(None, "start from yolov3-tiny.weights or from a checkpoint")
    device: str = setting("auto", "auto, cpu, cuda")
    bf16: Literal["auto", "on", "off"] = setting("auto", "bfloat16 autocast")
    workers: int = setting(1, "processes that augment photographs", 0)
    calibrate: bool = setting(
        True,
        "calibrate the default method at the end, on training images; --no-calibrate: leave that of"
        " the default method to `calibrate`",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task == "detect" and self.model not in DETECTORS:
            raise UserError(
                f"--model {self.model} is no detector that can be trained here: --task detect"
                f" trains {', '.join(DETECTORS)}, --task classify the others"
            )
        if self.task == "classify" and self.model in DETECTORS:
            raise UserError(f"--model {self.model} is a detector: give --task detect")

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return self.project / self.name if self.resume in (None, Path("latest")) else self.resume
