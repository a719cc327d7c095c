"""Train a YOLOv1 detector or a classifier, which convert well to a spiking network.

    spiking-yolo train --model yolov1 --data VOCdevkit --init weights/yolov3-tiny.weights
    spiking-yolo train --task classify --model resnet20 --data cifar10_jpeg.tar.xz --epochs 25
    spiking-yolo train --model yolov1 --data mine/data.yaml --init weights/yolov1-voc.safetensors
    torchrun --nproc-per-node 4 tools/train.py ...

data.yaml names your own classes, any number of them, as Ultralytics does: images/train/a.jpg has
its objects in labels/train/a.txt, one line `class cx cy w h` each, as fractions of the image.

    path: .
    train: images/train
    val: images/val
    names: [cup, spoon]

Photographs are stretched to the detector's input: --imgsz 288x416 keeps the shapes of those that
are wider than high. The folder PROJECT/NAME gets last.safetensors (float16) and, of the epoch with
the best validation, best.safetensors, results.csv and curves. mAP50, precision and recall (P, R,
where F1 is largest) are by VOC's rule; mAP50_20 is of the classes with 20 or more objects. At the
end the network is calibrated for the default method, which takes minutes (--no-calibrate). --resume
DIR goes on after an interruption, also within an epoch, with the same result; with more --epochs it
trains longer, at the learning rate that a training of so many has there, and says so.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from spiking_yolo.errors import UserError
from spiking_yolo.train.options import TrainOptions

if TYPE_CHECKING:
    from spiking_yolo.apps.console import Bars
    from spiking_yolo.train.run import Trained


def main(options: TrainOptions) -> int:
    """Exit status 1 when the network was trained but could not be calibrated."""
    from spiking_yolo.apps.console import Bars, write
    from spiking_yolo.options import command_line
    from spiking_yolo.train.lines import next_commands, outcome
    from spiking_yolo.train.run import train

    bars = Bars()
    try:
        trained = train(options, command_line(), bars, write)
    except KeyboardInterrupt:
        if (options.folder / "state.pt").is_file():
            write(
                f"the last checkpoint is kept: go on with --resume {options.folder}",
                file=sys.stderr,
            )
        raise
    if trained is None:
        return 0
    print(outcome(trained.weights, trained.rows[-1], trained.best))
    calibrated = options.calibrate and calibrate(trained, options.seed, bars)
    print(next_commands(options, trained.weights, str(trained.pictures[0].source), calibrated))
    return int(options.calibrate and not calibrated)


def calibrate(trained: Trained, seed: int, bars: Bars) -> bool:
    """Whether it worked; what was trained stays in any case."""
    from spiking_yolo.apps.calibrate import line
    from spiking_yolo.apps.calibrate_run import calibrate_trained

    print(
        "calibrating on training images, which can take minutes (--no-calibrate leaves it out)",
        flush=True,
    )
    try:
        calibrate_trained(
            trained.weights, trained.pictures, seed, lambda file: print(line(file)), bars
        )
    except UserError as error:
        print(f"not calibrated: {error}", file=sys.stderr)
        return False
    finally:
        bars.close()
    return True
