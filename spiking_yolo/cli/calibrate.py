"""Take the activation statistics of a network on calibration images, and let the default method
learn from them.

    spiking-yolo calibrate --weights W --images DIR  # a detector: about 100 photographs
    spiking-yolo calibrate --weights W --data cifar10_jpeg.tar.xz  # a classifier

The files lie beside the weights and are found there by every verb: the statistics, from which
conversion derives its thresholds, and of each method that runs the network to calibrate what it has
learned. For a network that comes with the package they go to your cache ($SPIKING_YOLO_CACHE) and
are taken before the shipped ones, which stay as they are. The default trains its thresholds,
without labels, which takes minutes. For another method:

    spiking-yolo calibrate --weights W --images DIR --method calibration-light

A method that needs the statistics only, such as p-norm, gets those alone. Statistics that were
taken from the same images are not taken again. --method all makes every method's file.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spiking_yolo.apps.calibrate import CalibrateOptions

if TYPE_CHECKING:
    from spiking_yolo.apps.calibrate_run import Calibrated

OPTIONS = CalibrateOptions


def main(options: CalibrateOptions) -> int:
    """Exit status 1 when images were skipped."""
    from spiking_yolo.apps.calibrate_run import calibrate
    from spiking_yolo.cli.main import Bars

    bars = Bars()

    def on_file(file: Calibrated) -> None:
        bars.close()
        for reason in file.skipped:
            print(f"skipped: {reason}", file=sys.stderr)
        print(line(file))

    files = calibrate(options, on_file, bars)
    if files[0].path is not None:
        print(usage(options, files[0].path), end="")
    return int(any(file.skipped for file in files))


def usage(options: CalibrateOptions, statistics: Path) -> str:
    """What to do with files that do not lie beside the weights."""
    from spiking_yolo.io.files import cache_folder

    if options.output is not None:
        return f"use them with --statistics {shlex.quote(str(statistics))}\n"
    if statistics.is_relative_to(cache_folder() / "calibrations"):
        return (
            f"every verb takes these from now on: remove {statistics.parent} to return to the"
            " shipped ones\n"
        )
    return ""


def line(file: Calibrated) -> str:
    if file.path is None:
        return f"method {file.method} needs the statistics only"
    if file.kept:
        return f"{file.path} is of these {file.images} images already"
    if file.method is None:
        return f"{file.images} images, {file.layers} layers: saved to {file.path}"
    return f"{file.method}, run on {file.images} images: saved to {file.path}"
