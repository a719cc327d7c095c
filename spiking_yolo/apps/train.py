"""Train a YOLOv1 detector or a classifier, which convert well to a spiking network."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from spiking_yolo.errors import UserError
from spiking_yolo.train import TrainOptions

if TYPE_CHECKING:
    from spiking_yolo.apps.console import Bars
    from spiking_yolo.train.run import Trained


def main(options: TrainOptions) -> int:
    """Train a YOLOv1 detector or a classifier, which convert well to a spiking network.

    ```
    spiking-yolo train --task detect --model yolov1 --data VOCdevkit --init yolov3-tiny.weights
    spiking-yolo train --task classify --model resnet20 --data cifar10_jpeg.tar.xz --epochs 25
    spiking-yolo train --task detect --model yolov1 --data data.yaml --init last.safetensors
    torchrun --nproc-per-node 4 tools/train.py ...
    ```

    data.yaml names your own classes, any number of them, as Ultralytics does: images/train/a.jpg
    has its objects in labels/train/a.txt, one line `class cx cy w h` each, as fractions of the
    image.

    ```
    path: .
    train: images/train
    val: images/val
    names: [cup, spoon]
    ```

    Photographs are stretched to the detector's input: --imgsz 288x416 keeps the shapes of those
    that are wider than high. The folder PROJECT/NAME gets results.csv, last.safetensors (float16)
    and, of the epoch with the best validation, best.safetensors. mAP50 is by VOC's rule. At the end
    the network is calibrated for the default method, which takes minutes (--no-calibrate).
    --resume DIR goes on after the last epoch that an interrupted training finished.
    """
    from spiking_yolo.apps.console import Bars, write
    from spiking_yolo.options import command_line
    from spiking_yolo.train.run import train

    bars = Bars()
    try:
        trained = train(options, command_line(), bars, write)
    except KeyboardInterrupt:
        if (options.folder / "state.pt").is_file():
            hint = f"the last checkpoint is kept: go on with --resume {options.folder}"
            write(hint, file=sys.stderr)
        raise
    if trained is None:
        return 0
    print(outcome(trained.weights, trained.rows[-1], trained.best))
    calibrated = options.calibrate and calibrate(trained, options.seed, bars)
    return int(options.calibrate and not calibrated)


def calibrate(trained: Trained, seed: int, bars: Bars) -> bool:
    """Calibrate the trained network; returns whether it worked. The network stays in any case."""
    from spiking_yolo.apps.calibrate_run import calibrate_trained

    print(
        "calibrating on training images, which can take minutes (--no-calibrate leaves it out)",
        flush=True,
    )
    try:
        calibrate_trained(trained.weights, trained.pictures, seed, print, bars)
    except UserError as error:
        print(f"not calibrated: {error}", file=sys.stderr)
        return False
    finally:
        bars.close()
    return True


def outcome(weights: Path, last: Mapping[str, float], best: Mapping[str, float] | None) -> str:
    """Which epoch the network is of, and why. last, best: the rows of these epochs."""
    from spiking_yolo.train.loop import scores

    if best is None:
        return f"{weights} is of the last epoch, {last['epoch']:.0f}: no epoch was validated"
    figures = ", ".join(scores(best))
    return f"{weights} is of epoch {best['epoch']:.0f}, the best by validation: {figures}"
