"""The options of an evaluation. Imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spiking_yolo.draw import FigureOptions
from spiking_yolo.errors import UserError
from spiking_yolo.metrics.energy import SRAM, Account, accounts
from spiking_yolo.options import (
    ComputeOptions,
    DetectionOptions,
    LimitOptions,
    MethodsOptions,
    ResumableOptions,
    ordered_steps,
)
from spiking_yolo.settings import Options, setting

# Timesteps where nothing is said.
LONGEST = 64


@dataclass(frozen=True, kw_only=True)
class EnergyOptions(Options):
    """What is not the same on all chips; see `accounts`."""

    title = "energy"

    sram_energy: float = setting(
        SRAM, "pJ per byte that is read or written; larger memories cost more", 0.01, 1e4
    )

    @property
    def accounts(self) -> tuple[Account, ...]:
        return accounts(self.sram_energy)


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(DetectionOptions, LimitOptions, EnergyOptions):
    """Which images, timesteps, rows and columns an evaluation has, of a detector or of a
    classifier.
    """

    title = "options"

    T: int | None = setting(None, f"timesteps (default: the last of --steps, or {LONGEST})", 1)
    steps: tuple[int, ...] = setting((), "timesteps that are reported (default: powers of two)", 1)
    batch: int | None = setting(
        None,
        "images simulated together (default: of a detector 4 up to 320x320 and 1 above, of a"
        " classifier 25,000 pixels)",
        1,
    )
    metric: Literal["auto", "coco", "voc", "accuracy"] = setting(
        "auto",
        "mAP as COCO or VOC defines it, or accuracy of classes; auto: by the network and the data",
    )
    early_exit: int = setting(
        0,
        "a row in which an image stops when its predictions have not changed for N steps, e.g. 3",
        0,
    )
    exit_conf: float | None = setting(
        None,
        "what early exit looks at: boxes above this (default 0.25), images above this (0.5)",
        0,
        1,
    )
    bootstrap: int = setting(
        0,
        "95 % intervals by N resamplings, e.g. 1000; of several methods also of the differences to"
        " the first",
        0,
        100_000,
    )
    conf: float = setting(0.001)
    max_det: int = setting(100)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "steps", ordered_steps(self.steps, self.T))
        if self.seed and self.limit is None and not self.bootstrap:
            raise UserError(
                "--seed draws the images of --limit and the bootstrap: give one of them, or leave"
                " it out"
            )

    @property
    def timesteps(self) -> tuple[int, ...]:
        """The timesteps that are reported, ascending; the last one is T."""
        T = self.T or max(self.steps, default=LONGEST)
        return tuple(sorted({*(self.steps or [2**k for k in range(31) if 2**k < T]), T}))


@dataclass(frozen=True, kw_only=True)
class EvalOptions(
    EvaluationOptions, MethodsOptions, ComputeOptions, FigureOptions, ResumableOptions
):
    """An evaluation of files: weights, a dataset, and the folder of the results."""

    title = "options"

    data: Path | None = setting(
        None,
        "COCO folder, annotation .json, VOCdevkit, data.yaml, or classes (default: the sample"
        " photographs)",
    )
    split: str | None = setting(
        None, "of the data (default: val2017 or val; of classes test, or val)"
    )
    images: Path | None = setting(
        None, "folder of images of an annotation .json (default: beside it)"
    )
    year: int | None = setting(None, "of a VOCdevkit (default: its latest)")
    baseline: bool = setting(False, "rows of the quantised ANN, and is it worth it?")
    per_class: bool = setting(False, "print the accuracy of every class")
    report: bool = setting(
        False,
        "report.html: one page of all figures, and the photographs that ANN and SNN see"
        " differently",
    )
    project: Path = setting(Path("runs/eval"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metric == "accuracy" and self.weights is None:
            raise UserError(
                "the default network is a detector, which gives images no class: give a classifier,"
                " such as --weights resnet20, vgg16 or vgg-thin of a checkout (CIFAR-10), or one of"
                " your own"
            )


@dataclass(frozen=True, kw_only=True)
class CompareOptions(EvalOptions):
    """An evaluation of all methods."""

    methods: tuple[str, ...] = setting(
        ("all",), "methods or recipe.json files with commas; see --list-methods"
    )
    project: Path = setting(Path("runs/compare"))


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions(EvalOptions):
    """An evaluation of a classifier."""

    data: Path = setting(doc="folder or tar file of a classification dataset")
    metric: Literal["auto", "coco", "voc", "accuracy"] = setting("accuracy")
