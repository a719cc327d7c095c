"""Score spiking networks: accuracy, spikes, operations and energy at every timestep, from one pass
per method.

    spiking-yolo eval  # five sample photographs, a smoke run
    spiking-yolo eval --data coco --T 256 --steps 16,32,64,128,256 --method channel-norm
    spiking-yolo eval --data mine.json --images photos/            # any file of COCO's format
    spiking-yolo eval --data VOCdevkit --year 2012 --limit 200 --bootstrap 1000
    spiking-yolo eval --data mine/data.yaml --metric voc           # labels as Ultralytics has them
    spiking-yolo eval --data cifar10_jpeg.tar.xz --weights W --method all --steps 8,16,32,64
    torchrun --nproc-per-node 4 tools/eval_coco.py --data coco

Detectors are scored by mAP of COCO, or of VOC: mAP_07 is the 11-point rule of 2007, mAP_area the
rule of 2010 and later. Classifiers are scored by top-1 and top-5 on a folder, or a tar file, with
test/CLASS/ or val/CLASS/ inside, or on the folder that holds cifar-100-python/. A network trained
on other data is scored by the names of its classes. Three lines say how accurate the network is at
every timestep and what it costs; -v prints all tables. PROJECT/NAME gets results.json, results.csv,
predictions and plots, with --report also one page to look at; several methods get a folder each,
beside one table and plots of methods x T. --resume goes on after an interruption and gives the same
figures.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spiking_yolo.draw import FigureOptions
from spiking_yolo.errors import UserError
from spiking_yolo.metrics.energy import SRAM, Account, every_account
from spiking_yolo.options import (
    ComputeOptions,
    DetectionOptions,
    LimitOptions,
    MethodsOptions,
    ResumableOptions,
    ordered_steps,
)
from spiking_yolo.settings import Options, setting

if TYPE_CHECKING:
    from spiking_yolo.apps.evaluate.evaluation import Evaluation
    from spiking_yolo.data.detection import DetectionSet

# Timesteps where nothing is said.
LONGEST = 64


@dataclass(frozen=True, kw_only=True)
class EnergyOptions(Options):
    """What is not the same on all chips; see `every_account`."""

    title = "energy"

    sram_energy: float = setting(
        SRAM, "pJ per byte that is read or written; larger memories cost more", 0.01, 1e4
    )

    @property
    def accounts(self) -> tuple[Account, ...]:
        return every_account(self.sram_energy)


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


def _next_command(options: EvalOptions, dataset: DetectionSet) -> str:
    """An analysis on the same photographs."""
    from spiking_yolo.apps.analyze import AnalyzeOptions
    from spiking_yolo.apps.console import next_command
    from spiking_yolo.data.formats import format_of

    data, split = options.data, options.split
    entry = format_of(data) if data else None
    if data and (options.images or entry is None or not (entry.val or data.is_file())):
        # Of an annotation file that names them one by one.
        data, split = dataset.samples[0].path.parent, None
    changes: dict[str, Any] = {
        "data": (data,) if data else None,
        "split": split,
        "T": options.timesteps[-1],
    }
    return next_command("analyze", AnalyzeOptions, options, **changes)


def main(options: EvalOptions) -> None:
    """Evaluate, print and save; under torchrun the first process prints."""
    from spiking_yolo.apps.console import Bars, is_verbose, write
    from spiking_yolo.apps.evaluate.comparison import COMPARISON
    from spiking_yolo.apps.evaluate.evaluation import RESULTS
    from spiking_yolo.apps.evaluate.run import compare, notes, open_inputs
    from spiking_yolo.apps.report.evaluation import evaluation_page
    from spiking_yolo.data.detection import DetectionSet
    from spiking_yolo.io.distributed import processes
    from spiking_yolo.options import simulation, study_folder

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

        def finished(name: str, evaluation: Evaluation) -> None:
            own = folder / name if several else folder
            evaluation.save(own, options.figures)
            if options.report:
                evaluation_page(evaluation).save(own / "report.html")
            if not several:
                if is_verbose():
                    print(f"\n{evaluation.text(options.per_class)}\nresults saved to {folder}")
                else:
                    print(evaluation.summary(options.per_class))
                    print(f"results saved to {folder}; -v prints the tables")
                if isinstance(dataset, DetectionSet):
                    print(_next_command(options, dataset))

        try:
            comparison = compare(
                networks,
                dataset,
                options,
                statistics=statistics,
                simulation=simulation(options, options.device),
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
