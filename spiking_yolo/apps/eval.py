"""`eval`: accuracy, spikes, operations and energy at every timestep."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from spiking_yolo.arguments import BOXES, COMMAS, DATA, NETWORK, OUTPUT, at_least, within
from spiking_yolo.errors import UserError
from spiking_yolo.options import (
    DetectionOptions,
    LimitOptions,
    MethodsOptions,
    OutputOptions,
    VideoOptions,
    ordered_steps,
)

if TYPE_CHECKING:
    from spiking_yolo.evaluate.scoring import Settings

# Timesteps where nothing is said.
LONGEST = 64


@dataclass(frozen=True, kw_only=True)
class EvalOptions(DetectionOptions, VideoOptions, LimitOptions, MethodsOptions, OutputOptions):
    """Which networks, which data, which rows and columns."""

    data: Path | None = None
    """COCO folder or .json, VOCdevkit, data.yaml, SPLIT/CLASS/, videos (default: samples); or a
    folder with photographs and instances.json, or with photographs alone.
    """
    split: Annotated[str | None, DATA] = None
    """Split of the data (default: val2017 or val; of classes test, or val)."""
    images: Annotated[Path | None, DATA] = None
    """Folder of images of an annotation .json (default: beside it)."""
    year: Annotated[int | None, at_least(0), DATA] = None
    """Year of a VOCdevkit (default: its latest)."""
    metric: Annotated[Literal["auto", "coco", "voc", "accuracy"], DATA] = "auto"
    """mAP as COCO or VOC defines it, or accuracy of classes; auto: by the data."""
    limit: Annotated[int | None, at_least(1)] = None
    """Use N images only, drawn by --seed; of each video the first N frames."""
    seed: Annotated[int, at_least(0), DATA] = 0
    """Draws the images of --limit, and the bootstrap."""
    T: Annotated[int | None, at_least(1)] = None
    """Timesteps (default: the last of --steps, or 64; of a frame 1)."""
    steps: Annotated[tuple[int, ...], at_least(1), COMMAS] = ()
    """Timesteps that are reported (default: powers of two)."""
    batch: Annotated[int | None, at_least(1), NETWORK] = None
    """Images simulated together (default: of a detector 4 up to 320x320 and 1 above, of a
    classifier 25,000 pixels).
    """
    square: Annotated[bool, NETWORK] = False
    """Frames of videos in the square of --imgsz too, not at their own shape."""
    rect: Annotated[bool, NETWORK] = False
    """Photographs at their own shape too, not in the square of --imgsz."""
    baseline: bool = False
    """A row of the 8-bit ANN."""
    bootstrap: Annotated[int, within(0, 100000)] = 0
    """95 % intervals by N resamplings, e.g. 1000, also of the differences from the ANN and from
    the first method.
    """
    conf: Annotated[float, within(0, 1), BOXES] = 0.001
    """Smallest confidence."""
    max_det: Annotated[int, at_least(1), BOXES] = 100
    """Boxes per image."""
    figures: Annotated[Literal["png", "pdf", "svg"], OUTPUT] = "png"
    """Format of the plots of accuracy; those of a video's baselines are SVG."""
    project: Annotated[Path, OUTPUT] = Path("runs/eval")
    """Folder of all runs."""
    resume: Annotated[Path | None, OUTPUT] = None
    """Go on with an interrupted run, whose folder this is."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", ordered_steps(self.steps, self.T))
        if self.rect and (self.square or self.exact):
            other = "--square" if self.square else "a size of HEIGHTxWIDTH"
            own = "--rect is each photograph's own shape"
            raise UserError(f"{own}, {other} one for all: leave one of them out")
        if self.metric == "accuracy" and self.weights is None:
            raise UserError(
                "the default network is a detector, which gives images no class: give a classifier,"
                " such as --weights resnet20, vgg16 or vgg-thin of a checkout (CIFAR-10), or one of"
                " your own"
            )

    def evaluation(self) -> "Settings":
        """What they tell an evaluation."""
        from spiking_yolo.evaluate.scoring import Settings

        T = self.T or max(self.steps, default=LONGEST)
        steps = tuple(sorted({*(self.steps or [2**k for k in range(31) if 2**k < T]), T}))
        return Settings(
            selection=self.selection(multi_label=True),
            steps=steps,
            frame_steps=steps if self.T or self.steps else (1,),
            split=self.split,
            images=self.images,
            year=self.year,
            metric=self.metric,
            limit=self.limit,
            seed=self.seed,
            batch=self.batch,
            own_photographs=self.rect,
            own_frames=not (self.square or self.exact),
            lossless=self.lossless,
            bootstrap=self.bootstrap,
        )


def main(options: EvalOptions = EvalOptions()) -> None:
    """Score spiking networks: accuracy, spikes, operations and energy at every timestep, from one
    pass per method.

    ```
    spiking-yolo eval  # five sample photographs, a smoke run
    spiking-yolo eval --data coco --T 256 --steps 16,32,64,128,256 --method p-norm,msat
    spiking-yolo eval --data mine.json --images photos/  # any file of COCO's format
    spiking-yolo eval --data VOCdevkit --year 2012 --limit 200 --bootstrap 1000
    spiking-yolo eval --data mine/data.yaml --metric voc  # labels as Ultralytics has them
    spiking-yolo eval --data cifar10 --weights W --method all --steps 8,16,32,64
    spiking-yolo eval --data MOT16/train --limit 100  # videos, people and tracks
    ```

    The data decide. Photographs with boxes are scored by mAP of COCO, or of VOC: mAP_07 is the
    11-point rule of 2007, mAP_area the rule of 2010 and later. Images of a class each, in
    test/CLASS/ or val/CLASS/ of a folder, by top-1 and top-5.
    Videos are scored with the state kept from frame to frame and, for comparison, anew in each:
    AP50 of people, and MOTA, IDF1 and HOTA of their tracks, where MOTChallenge's gt/gt.txt or
    gt.txt is, and the agreement with the ANN. A network trained on other data is scored by the
    names of its classes. PROJECT/NAME gets results.csv, results.json, predictions and plots;
    --resume goes on after an interruption and gives the same figures.
    """
    from spiking_yolo.apps.console import Bars, write
    from spiking_yolo.convert.load import load_statistics
    from spiking_yolo.evaluate.run import evaluate, is_video, open_scorer, save_predictions
    from spiking_yolo.integer.video import check_lossless
    from spiking_yolo.io.distributed import usable_device
    from spiking_yolo.io.files import command_line, run_directory, samples_folder

    settings, device = options.evaluation(), usable_device(options.device)
    data = options.data or samples_folder()
    if (data / "instances.json").is_file():
        data /= "instances.json"
    networks = options.convert_all(is_video(data) and not options.lossless)
    if options.lossless and is_video(data):
        for network in networks.values():
            check_lossless(network.recipe)
    scorer = open_scorer(data, next(iter(networks.values())).spec, settings)
    statistics = None
    if options.baseline:
        statistics = load_statistics(options.open_ann(), options.statistics)
    print("".join(f"note: {line}\n" for line in scorer.notes), end="")
    folder = options.resume or run_directory(options.project, options.name)
    if options.resume and not any(folder.glob("records-*.jsonl")):
        raise UserError(f"{folder} holds no run of this command: leave --resume out")
    where = {"folder": folder, "device": device, "progress": Bars()}
    try:
        table, predictions = evaluate(networks, scorer, settings, statistics, **where)
    except (KeyboardInterrupt, OSError):
        line = command_line()
        if options.resume is None:
            line += f" --resume {shlex.quote(str(folder))}"
        write(f"finished images are kept: go on with {line}", file=sys.stderr)
        raise
    print(f"{table.text()}\n")
    table.save(folder, options.figures)
    save_predictions(folder, predictions)
    print(f"results saved to {folder}")
