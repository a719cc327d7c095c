"""Score spiking classifiers: top-1, top-5, spikes, operations and energy at every timestep, from one pass per method.

    python tools/eval_classify.py --data cifar10_jpeg.tar.xz --weights W --steps 4,8,16,32
    python tools/eval_classify.py --data cifar10_jpeg.tar.xz --weights W --methods all --steps 8,16,32,64,128,256 \\
        --limit 1000
    python tools/eval_classify.py --data imagenet --weights vgg16.pth --cfg torchvision:vgg16
    torchrun --nproc-per-node 4 tools/eval_classify.py ...

--data takes a folder (or a tar file) with test/CLASS/ or val/CLASS/ inside, such as CIFAR-10 and ImageNet, or the
folder that holds cifar-100-python/. W is a checkpoint of tools/train.py, a converted network, or torchvision weights.
PROJECT/NAME gets results.json, results.csv, the predictions and plots; several methods get a folder each, beside one
table and plots of methods x T. --resume goes on after an interruption and gives the same figures.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs without an installation

from spiking_yolo import cli
from spiking_yolo.studies.evaluate.arguments import add_classes, add_evaluation


def parser() -> argparse.ArgumentParser:
    p = cli.parser(__doc__)
    p.add_argument("--data", type=Path, required=True, help="folder or tar file of a classification dataset")
    p.add_argument("--split", help="default: test, or val where the folder has that instead")
    add_evaluation(p)
    add_classes(p)
    return p


def main() -> None:
    args = parser().parse_args()
    from spiking_yolo.studies.evaluate.classify import evaluate_classes

    evaluate_classes(args)


if __name__ == "__main__":
    cli.run(main)
