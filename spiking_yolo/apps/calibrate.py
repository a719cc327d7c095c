"""Take the activation statistics of a network, and let methods learn from calibration images."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from spiking_yolo.arguments import COMMAS, METHODS, WORDS, Settings, at_least
from spiking_yolo.convert.methods import DEFAULT
from spiking_yolo.errors import UserError
from spiking_yolo.options import LimitOptions, WeightsOptions


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(WeightsOptions, LimitOptions):
    """On which images, for which methods, and where the result goes."""

    images: Annotated[tuple[Path, ...], WORDS] = ()
    """Folders of photographs; 100 photographs are enough."""
    data: Path | None = None
    """Classification dataset, whose training split is drawn from."""
    limit: Annotated[int | None, at_least(1)] = None
    """N images, drawn by --seed (default: all of --images, 1000 of --data)."""
    output: Annotated[Path | None, Parameter(alias="-o")] = None
    """Folder, or .safetensors file (default: beside the weights; for a network of the package
    the user's cache, $SPIKING_YOLO_CACHE).
    """
    methods: Annotated[tuple[str, ...], COMMAS, METHODS] = (DEFAULT,)
    """Run the network as these methods need it, and keep what they learn; or all."""
    calibration: str | None = None
    """Name of the calibration (default: default, or tuned with --tune)."""
    settings: Settings = field(default_factory=dict)
    """Change a setting of the methods."""
    run_images: Annotated[int | None, at_least(1)] = None
    """Images that --method runs on (default: 16, 100 of --data; for signed-digits 128, 1000)."""
    tune: bool = False
    """Train for longer, on random crops, for fewer operations."""
    videos: Annotated[tuple[Path, ...], WORDS] = ()
    """Videos without labels, or folders of them, for --calibration video."""
    batch: Annotated[int | None, at_least(1)] = None
    """When tuning: pictures of a step (default: 4, or more where they are small)."""
    device: str = "cpu"
    """When tuning: cpu, cuda, cuda:1, ..."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images and self.data:
            raise UserError("--images and --data are two: give one")


def main(options: CalibrateOptions = CalibrateOptions()) -> int:
    """Take the activation statistics of a network, and let methods learn from calibration images.

    ```
    spiking-yolo calibrate --weights W --images DIR  # a detector: about 100 photographs
    spiking-yolo calibrate --weights W --data cifar10_jpeg.tar.xz  # a classifier
    spiking-yolo calibrate --weights W --images DIR --method calibration-light
    spiking-yolo calibrate --images train2017 VOCdevkit --tune  # fewer operations, for hours
    spiking-yolo calibrate --images train2017 --calibration video --videos camera.mp4
    ```

    All calibrations of a network lie in one file beside its weights, where every command finds
    them: the statistics, from which thresholds are derived, and what each method has learned that
    runs the network to calibrate. For a network of the package they go to your cache and are taken
    before the shipped ones, which stay as they are. Statistics of the same images are kept.

    The default method trains its thresholds without labels, which takes minutes. It can have
    several calibrations, of which every command takes one by --calibration NAME: default; fine, for
    more operations; untrained, made within seconds; or one of your own, such as --calibration half
    --set calibration.operations=0.5.

    --tune trains for longer, on random crops of all folders of --images alike, 500 photographs or
    more without labels, to imitate the ANN within fewer operations. The calibration is called
    tuned, and no weight moves. --calibration tuned-weights moves weights of 8 bits too, and tables
    say so; --calibration video trains for the later frames of videos, on clips in which parts of
    photographs move, and on those of --videos. The same command goes on after an interruption.
    """
    from spiking_yolo.apps.calibrate_run import calibrate
    from spiking_yolo.apps.console import Bars, write

    if not options.images and not options.data:
        raise UserError("--images is missing, or --data: the images to learn from")
    bars = Bars()
    try:
        job = calibrate(options, write, bars)
    finally:
        bars.close()
    if options.output is not None:
        print(f"use it with --statistics {job.path}")
    return int(job.skipped > 0)
