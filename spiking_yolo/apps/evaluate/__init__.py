"""Score spiking networks: accuracy, spikes, operations and energy at every timestep, from one pass
per method.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from spiking_yolo.arguments import BOXES, COMMAS, OUTPUT, Options, at_least, within
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

if TYPE_CHECKING:
    from spiking_yolo.apps.evaluate.evaluation import Evaluation

# Timesteps where nothing is said.
LONGEST = 64


@dataclass(frozen=True, kw_only=True)
class EnergyOptions(Options):
    """What is not the same on all chips; see `every_account`."""

    sram_energy: Annotated[float, within(0.01, 10000.0)] = SRAM
    """pJ per byte that is read or written; larger memories cost more."""

    @property
    def accounts(self) -> tuple[Account, ...]:
        return every_account(self.sram_energy)


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(DetectionOptions, LimitOptions, EnergyOptions):
    """Which images, timesteps, rows and columns an evaluation has, of a detector or of a
    classifier.
    """

    T: Annotated[int | None, at_least(1)] = None
    """Timesteps (default: the last of --steps, or 64)."""
    steps: Annotated[tuple[int, ...], at_least(1), COMMAS] = ()
    """Timesteps that are reported (default: powers of two)."""
    batch: Annotated[int | None, at_least(1)] = None
    """Images simulated together (default: of a detector 4 up to 320x320 and 1 above, of a
    classifier 25,000 pixels).
    """
    metric: Literal["auto", "coco", "voc", "accuracy"] = "auto"
    """mAP as COCO or VOC defines it, or accuracy of classes; auto: by the network and the data."""
    early_exit: Annotated[int, at_least(0)] = 0
    """A row in which an image stops when its predictions have not changed for N steps, e.g. 3."""
    exit_conf: Annotated[float | None, within(0, 1)] = None
    """What early exit looks at: boxes above this (default 0.25), images above this (0.5)."""
    bootstrap: Annotated[int, within(0, 100000)] = 0
    """95 % intervals by N resamplings, e.g. 1000; of several methods also of the differences to
    the first.
    """
    conf: Annotated[float, within(0, 1), BOXES] = 0.001
    """Smallest confidence."""
    max_det: Annotated[int, at_least(1), BOXES] = 100
    """Boxes per image."""

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
class EvalOptions(EvaluationOptions, MethodsOptions, FigureOptions, ResumableOptions):
    """An evaluation of files: weights, a dataset, and the folder of the results."""

    data: Path | None = None
    """COCO folder, annotation .json, VOCdevkit, data.yaml, or classes (default: the sample
    photographs).
    """
    split: str | None = None
    """Of the data (default: val2017 or val; of classes test, or val)."""
    images: Path | None = None
    """Folder of images of an annotation .json (default: beside it)."""
    year: Annotated[int | None, at_least(0)] = None
    """Of a VOCdevkit (default: its latest)."""
    baseline: bool = False
    """Rows of the quantised ANN, and is it worth it?."""
    per_class: bool = False
    """Print the accuracy of every class."""
    project: Annotated[Path, OUTPUT] = Path("runs/eval")
    """Folder of all runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metric == "accuracy" and self.weights is None:
            raise UserError(
                "the default network is a detector, which gives images no class: give a classifier,"
                " such as --weights resnet20, vgg16 or vgg-thin of a checkout (CIFAR-10), or one of"
                " your own"
            )


def main(options: EvalOptions = EvalOptions()) -> None:
    """Score spiking networks: accuracy, spikes, operations and energy at every timestep, from one
    pass per method.

    ```
    spiking-yolo eval  # five sample photographs, a smoke run
    spiking-yolo eval --data coco --T 256 --steps 16,32,64,128,256 --method channel-norm
    spiking-yolo eval --data mine.json --images photos/  # any file of COCO's format
    spiking-yolo eval --data VOCdevkit --year 2012 --limit 200 --bootstrap 1000
    spiking-yolo eval --data mine/data.yaml --metric voc  # labels as Ultralytics has them
    spiking-yolo eval --data cifar10_jpeg.tar.xz --weights W --method all --steps 8,16,32,64
    torchrun --nproc-per-node 4 tools/eval_coco.py --data coco
    ```

    Detectors are scored by mAP of COCO, or of VOC: mAP_07 is the 11-point rule of 2007, mAP_area
    the rule of 2010 and later. Classifiers are scored by top-1 and top-5 on a folder, or a tar
    file, with test/CLASS/ or val/CLASS/ inside, or on the folder that holds cifar-100-python/. A
    network trained on other data is scored by the names of its classes. Three lines say how
    accurate the network is at every timestep and what it costs; -v prints all tables. PROJECT/NAME
    gets results.json, results.csv, predictions and plots;
    several methods get a folder each, beside one table and plots of methods x T. --resume goes on
    after an interruption and gives the same figures.
    """
    from spiking_yolo.apps.console import Bars, is_verbose, write
    from spiking_yolo.apps.evaluate.comparison import COMPARISON
    from spiking_yolo.apps.evaluate.evaluation import RESULTS
    from spiking_yolo.apps.evaluate.run import compare, notes, open_inputs
    from spiking_yolo.io.distributed import processes
    from spiking_yolo.options import study_folder

    with processes(options.device) as ranks:
        networks, dataset, statistics, options = open_inputs(options)
        several = len(networks) > 1
        lines = notes(next(iter(networks.values())).spec, dataset, options)
        if options.data is None:
            lines.insert(
                0,
                "no --data: the five sample photographs, which show that it runs and measure"
                " nothing",
            )
        if ranks.first:
            print("".join(f"{line}\n" for line in lines), end="")
        log, last = ("*/records-*.jsonl", COMPARISON) if several else ("records-*.jsonl", RESULTS)
        folder = Path(ranks.broadcast(str(study_folder(options, log, last)) if ranks.first else ""))

        def finished(name: str, evaluation: "Evaluation") -> None:
            own = folder / name if several else folder
            evaluation.save(own, options.figures)
            if not several:
                if is_verbose():
                    print(f"\n{evaluation.text(options.per_class)}\nresults saved to {folder}")
                else:
                    print(evaluation.summary(options.per_class))
                    print(f"results saved to {folder}; -v prints the tables")

        try:
            comparison = compare(
                networks,
                dataset,
                options,
                statistics=statistics,
                folder=folder,
                ranks=ranks,
                progress=Bars() if ranks.first else lambda *_: None,
                finished=finished,
            )
        except KeyboardInterrupt:
            write(f"finished images are kept: go on with --resume {folder}", file=sys.stderr)
            raise
        if several and ranks.first:
            print(f"\n{comparison.text()}")
            comparison.save(folder, options.figures)
            print(f"results saved to {folder}")
