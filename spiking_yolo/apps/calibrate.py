"""Take the activation statistics of a network on calibration images, and let the default method
learn from them.
"""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from spiking_yolo.arguments import COMMAS, METHODS, Settings, at_least
from spiking_yolo.convert.methods import DEFAULT
from spiking_yolo.options import LearningOptions, LimitOptions
from spiking_yolo.recipe import UNTRAINED_OPERATIONS

if TYPE_CHECKING:
    from spiking_yolo.apps.calibrate_run import Calibrated


# The settings of --quick.
QUICK = {"calibration.kind": "none", "calibration.operations": UNTRAINED_OPERATIONS}


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(LearningOptions, LimitOptions):
    """On which images, and for which methods."""

    images: Path | None = None
    """Folder of photographs; 100 are enough."""
    limit: Annotated[int | None, at_least(1)] = None
    """N images, drawn by --seed (default: all of --images, 1000 of --data)."""
    output: Annotated[Path | None, Parameter(alias="-o")] = None
    """Folder, or .safetensors file of the statistics (default: beside the weights; for a
    network of the package the user's cache, $SPIKING_YOLO_CACHE).
    """
    methods: Annotated[tuple[str, ...], COMMAS, METHODS] = (DEFAULT,)
    """Also run the network as these methods need it, and keep the result; or all."""
    settings: Settings = field(default_factory=dict)
    """Change a setting of the methods."""
    quick: bool = False
    """Train nothing: thresholds by sensitivity alone, finer ones, as --set
    calibration.kind=none --set calibration.operations=1.2.
    """
    run_images: Annotated[int | None, at_least(1)] = None
    """Images that --method runs on (default: 16, 100 of --data; for signed-digits 128, 1000)."""

    @property
    def changes(self) -> Mapping[str, Any]:
        """All changed settings of the methods."""
        return {**QUICK, **self.settings} if self.quick else self.settings


# Seconds between lines of progress where stderr is a file.
LINES = 30.0


def main(options: CalibrateOptions = CalibrateOptions()) -> int:
    """Take the activation statistics of a network on calibration images, and let the default method
    learn from them.

    ```
    spiking-yolo calibrate --weights W --images DIR  # a detector: about 100 photographs
    spiking-yolo calibrate --weights W --data cifar10_jpeg.tar.xz  # a classifier
    ```

    The files lie beside the weights and are found there by every verb: the statistics, from which
    conversion derives its thresholds, and of each method that runs the network to calibrate what it
    has learned. For a network that comes with the package they go to your cache
    ($SPIKING_YOLO_CACHE) and are taken before the shipped ones, which stay as they are. The default
    trains its thresholds, without labels, which takes minutes. For another method:

    ```
    spiking-yolo calibrate --weights W --images DIR --method calibration-light
    ```

    A method that needs the statistics only, such as p-norm, gets those alone. Statistics that were
    taken from the same images are not taken again. --method all makes every method's file, but for
    signed-digits-tuned, whose weights `spiking-yolo tune` moves.
    """
    from spiking_yolo.apps.calibrate_run import calibrate
    from spiking_yolo.apps.console import Bars

    options.check_images()
    bars = Bars(lines=LINES)

    def on_file(file: "Calibrated") -> None:
        bars.close()
        for reason in file.skipped:
            print(f"skipped: {reason}", file=sys.stderr)
        print(describe(file))

    files = calibrate(options, on_file, bars)
    if files[0].path is not None:
        print(usage(options, files[0].path), end="")
    return int(any(file.skipped for file in files))


def usage(options: CalibrateOptions, statistics: Path) -> str:
    """What to do with files that do not lie beside the weights, or have settings of their own."""
    from spiking_yolo.io.files import cache_folder

    words: list[str] = []
    if options.quick:
        words += [f"--set {key}={value}" for key, value in options.changes.items()]
    if options.output is not None:
        words.append(f"--statistics {shlex.quote(str(statistics))}")
    lines = [f"use them with {' '.join(words)}\n"] if words else []
    if options.output is None and statistics.is_relative_to(cache_folder() / "calibrations"):
        lines.append(
            f"the methods calibrated here use these from now on: remove {statistics.parent} to"
            " return to the shipped ones\n"
        )
    return "".join(lines)


def describe(file: "Calibrated") -> str:
    """One line about a file that was written, or was not needed."""
    if file.path is None:
        return f"method {file.method} needs the statistics only"
    if file.kept:
        return f"{file.path} is of these {file.images} images already"
    if file.method is None:
        return f"{file.images} images, {file.layers} layers: saved to {file.path}"
    return f"{file.method}, run on {file.images} images: saved to {file.path}"
