"""Calibrate a network: what its neurons need to know, learned from photographs without labels."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from spiking_yolo.arguments import COMMAS, METHODS, WORDS, Settings, above
from spiking_yolo.convert.methods import DEFAULT
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import command
from spiking_yolo.options import LimitOptions, WeightsOptions

if TYPE_CHECKING:
    from spiking_yolo.models.load import Ann


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(WeightsOptions, LimitOptions):
    """The images to learn from, how thoroughly, and where the result goes."""

    images: Annotated[tuple[Path, ...], WORDS] = ()
    """Folders of photographs, lists of them, videos, or a dataset of classes; no labels are
    needed.
    """
    minutes: Annotated[float | None, above(0)] = None
    """Train for so long; more minutes go on from there (default: a number of steps)."""
    quick: bool = False
    """Thresholds that are not trained, within a minute or two; for --video within three."""
    tune: bool = False
    """Train longer, on random crops, for fewer operations; 500 photographs are good."""
    video: bool = False
    """For the later frames of videos."""
    output: Annotated[Path | None, Parameter(alias="-o")] = None
    """Folder, or .safetensors file (default: beside the weights; for a network of the package
    the user's cache, $SPIKING_YOLO_CACHE).
    """
    methods: Annotated[tuple[str, ...], COMMAS, METHODS] = (DEFAULT,)
    """Calibrate for these methods; or all."""
    calibration: str | None = None
    """Name of the calibration, such as fine, tuned or one of your own."""
    settings: Settings = field(default_factory=dict)
    """Change a setting of the methods."""
    device: str = "cpu"
    """When tuning: cpu, cuda, cuda:1, ..."""

    def __post_init__(self) -> None:
        if self.quick and self.minutes:
            raise UserError("--quick does not train: leave --minutes out")
        if self.tune and self.quick + self.video:
            raise UserError("--tune goes with neither --quick nor --video: give one")
        if (self.tune or self.video) and self.methods != (DEFAULT,):
            raise UserError(f"--tune and --video are for {DEFAULT}: leave --method out")


def next_command(options: CalibrateOptions, path: Path, ann: "Ann") -> str:
    """What a user types to see what was calibrated. path: of the file."""
    words = ["detect", "camera.mp4" if options.video else "photo.jpg"]
    if ann.spec.task == "classify":
        words = ["eval", "--data", "dataset/"]
    if options.weights:
        words += ["--weights", str(options.weights)]
    words += ann.options
    chosen = {
        "statistics": options.output and path,
        "method": options.methods[0] if options.methods[0] not in (DEFAULT, "all") else None,
        "calibration": options.calibration,
    }
    for name, value in chosen.items():
        words += [f"--{name}", str(value)] if value else []
    return command(shlex.join(words))


def main(options: CalibrateOptions = CalibrateOptions()) -> int:
    """Learn from photographs without labels what the neurons of a network need to know.

    ```
    spiking-yolo calibrate --weights best.pt --images photos/  # about 100 photographs; minutes
    spiking-yolo calibrate --weights best.pt --images camera.mp4 --minutes 10
    spiking-yolo calibrate --weights best.pt --images photos/ --quick  # a minute or two
    spiking-yolo calibrate --weights best.pt --images photos/ --tune  # fewer operations; longer
    spiking-yolo calibrate --weights best.pt --images photos/ camera.mp4 --video
    ```

    All that is learned about a network lies in one file beside its weights: its activation
    statistics, and calibrations with names. Every command takes the best of yours, and says so:
    tuned, default (trained), or untrained (--quick), and for a video that of --video;
    --calibration NAME takes another one. For a network of the package the file goes to your cache
    and is taken before the shipped one.

    Ctrl-C keeps the best state so far, and the same command goes on from there. What was made of
    the same images is kept; --minutes trains it further.

    --tune trains on random crops of all folders alike, to imitate the ANN within fewer operations;
    no weight moves.
    --video trains on clips in which parts of photographs move, and on those of the videos. A
    calibration of your own: --calibration half --set calibration.operations=0.5.
    """
    if not options.images:
        raise UserError("--images is missing: photographs or videos to learn from")
    from spiking_yolo.apps.calibrate.run import calibrate
    from spiking_yolo.apps.console import Bars, write

    bars = Bars()
    try:
        job = calibrate(options, write, bars)
    finally:
        bars.close()
    print(f"next: {next_command(options, job.path, job.ann)}")
    return int(job.skipped > 0)
