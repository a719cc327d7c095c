"""Train a YOLOv1 detector or a classifier, which convert well to a spiking network.

    python tools/train.py --task detect --model yolov1 --data VOCdevkit --init weights/yolov3-tiny.weights
    python tools/train.py --task classify --model resnet20 --data cifar10_jpeg.tar.xz --epochs 25
    python tools/train.py --task detect --model yolov1 --data mine/data.yaml --init weights/yolov1-voc.safetensors
    torchrun --nproc-per-node 4 tools/train.py ...

data.yaml names your own classes, any number of them, as Ultralytics does: images/train/a.jpg has its objects in
labels/train/a.txt, one line `class cx cy w h` each, as fractions of the image.

    path: .
    train: images/train
    val: images/val
    names: [cup, spoon]

Photographs are stretched to the detector's input: --imgsz 288x416 keeps the shapes of those that are wider than high.
The folder PROJECT/NAME gets last.safetensors (float16), results.csv and curves; --resume goes on after an interruption.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs without an installation

from spiking_yolo import cli


def parser() -> argparse.ArgumentParser:
    p = cli.parser(__doc__)
    p.add_argument("--task", choices=("detect", "classify"), required=True)
    p.add_argument("--model", required=True, help="yolov1; resnet20, vgg16, vgg_thin, torchvision:NAME")
    p.add_argument("--data", type=Path, required=True, help="VOCdevkit or data.yaml; CIFAR folder or archive")
    p.add_argument("--project", type=Path, default=Path("runs/train"))
    p.add_argument("--name", default="exp", help="folder inside the project")
    p.add_argument("--resume", action="store_true", help="go on where PROJECT/NAME stopped")
    p.add_argument("--init", type=Path, help="start from yolov3-tiny.weights or from a checkpoint")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda")
    p.add_argument("--bf16", choices=("auto", "on", "off"), default="auto", help="bfloat16 autocast")
    p.add_argument("--workers", type=int, default=1, help="processes that augment photographs")

    g = p.add_argument_group("optimisation (defaults depend on the task)")
    g.add_argument("--epochs", type=int, default=60)
    g.add_argument("--batch", type=int, help="images per step and process")
    g.add_argument("--lr", type=float, help="peak learning rate")
    g.add_argument("--optimizer", choices=("adamw", "sgd"))
    g.add_argument("--weight-decay", type=float)
    g.add_argument("--warmup", type=float, help="share of the training in which the rate rises")
    g.add_argument("--ema", type=float, default=0.998, help="decay of the averaged weights")
    g.add_argument("--seed", type=int, default=0)

    g = p.add_argument_group("network")
    g.add_argument("--activation", choices=("relu", "leaky", "clip", "qcfs"), default="relu")
    g.add_argument("--levels", type=int, default=8, help="of QCFS")
    g.add_argument("--pool", choices=("max", "avg"), help="default: max")
    g.add_argument("--anneal", type=float, default=0.0, help="share of training from leaky ReLU to ReLU")
    g.add_argument("--imgsz", type=cli.image_size, default="320", help=f"{cli.IMGSZ} (default %(default)s)")
    g.add_argument("--linear", action="store_true", help="published linear head instead of the logistic one")

    g = p.add_argument_group("data and validation")
    g.add_argument("--split", default="train")
    g.add_argument("--val-split", help="default: val, or test for CIFAR")
    g.add_argument("--year", default="2012", help="of the VOCdevkit")
    g.add_argument("--holdout", type=float, default=0.0, help="validate on this share of the training split")
    g.add_argument("--val-every", type=int, default=5, help="epochs between validations; 0: at the end only")
    g.add_argument("--mosaic", type=float, default=0.5, help="probability of four photographs in one")
    g.add_argument("--giou", type=float, default=2.0, help="weight of 1 - GIoU in the loss")
    g.add_argument("--ignore", type=float, default=0.6, help="IoU above which a box need not be empty")
    g.add_argument("--cutout", type=int, default=0, help="side of the square cut out of CIFAR images, pixels")
    g.add_argument("--no-cache", dest="cache", action="store_false", help="decode photographs every time")
    return p


def main() -> None:
    options = vars(parser().parse_args())
    from spiking_yolo.train.run import Job, train

    command = shlex.join(["python", "tools/train.py", *sys.argv[1:]])
    row = train(Job(**options), command)
    if row:
        print("  ".join(f"{k} {v:.4g}" for k, v in row.items()))


if __name__ == "__main__":
    cli.run(main)
