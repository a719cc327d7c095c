"""Train a YOLOv1 detector or a classifier, which convert well to a spiking network."""

import sys

from spiking_yolo.errors import UserError
from spiking_yolo.train import TrainOptions


def main(options: TrainOptions) -> int:
    """Train a YOLOv1 detector or a classifier, which convert well to a spiking network.

    ```
    spiking-yolo train --task detect --model yolov1 --data VOCdevkit --init yolov3-tiny.weights
    spiking-yolo train --task classify --model resnet20 --data cifar10_jpeg --epochs 25
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
    from spiking_yolo.apps.calibrate.run import calibrate_trained
    from spiking_yolo.apps.console import Bars, write
    from spiking_yolo.io.files import command_line
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
    best, metric = trained.best, trained.metric
    print(f"{trained.weights} is of epoch {best['epoch']:.0f}, {metric} {best[metric]:.1f} %")
    if not options.calibrate:
        return 0
    print("calibrating on training images, which can take minutes", flush=True)
    try:
        calibrate_trained(trained.weights, trained.pictures, options.seed, print, bars)
    except UserError as error:
        print(f"not calibrated: {error}", file=sys.stderr)
        return 1
    finally:
        bars.close()
    return 0
