"""Train a YOLOv1 detector or a classifier, which convert well to a spiking network.

    spiking-yolo train --task detect --model yolov1 --data VOCdevkit --init weights/yolov3-tiny.weights
    spiking-yolo train --task classify --model resnet20 --data cifar10_jpeg.tar.xz --epochs 25
    spiking-yolo train --task detect --model yolov1 --data mine/data.yaml --init weights/yolov1-voc.safetensors
    torchrun --nproc-per-node 4 tools/train.py ...

data.yaml names your own classes, any number of them, as Ultralytics does: images/train/a.jpg has its objects in
labels/train/a.txt, one line `class cx cy w h` each, as fractions of the image.

    path: .
    train: images/train
    val: images/val
    names: [cup, spoon]

Photographs are stretched to the detector's input: --imgsz 288x416 keeps the shapes of those that are wider than high.
The folder PROJECT/NAME gets last.safetensors (float16), results.csv and curves; --resume DIR goes on after an
interruption.
"""

import shlex
import sys
from pathlib import Path

from spiking_yolo.train.options import TrainOptions

OPTIONS = TrainOptions


def main(options: TrainOptions) -> None:
    from spiking_yolo.cli.bars import Bars
    from spiking_yolo.train.run import train

    program = Path(sys.argv[0])
    command = shlex.join([*(["python", "tools/" + program.name] if program.suffix else [program.name]), *sys.argv[1:]])
    row = train(options, command, Bars())
    if row:
        print("  ".join(f"{k} {v:.4g}" for k, v in row.items()))
