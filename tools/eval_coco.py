"""Score a spiking network on COCO: mAP, spikes, operations and energy at every timestep, from one pass.

    python tools/eval_coco.py                                       # five sample photographs, a smoke run
    python tools/eval_coco.py --data coco --split val2017 --T 256 --steps 16,32,64,128,256 --method channel-norm
    python tools/eval_coco.py --data mine.json --images photos/     # any file of COCO's format
    python tools/eval_coco.py --data mine/data.yaml --split val     # labels as Ultralytics has them
    torchrun --nproc-per-node 4 tools/eval_coco.py --data coco

PROJECT/NAME gets results.json, results.csv, predictions in COCO's format and plots; --resume goes on after an
interruption and gives the same figures.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs without an installation

from spiking_yolo import cli
from spiking_yolo.studies.evaluate.arguments import add_boxes, add_evaluation

if TYPE_CHECKING:
    from spiking_yolo.datasets.detection import DetectionSet

SAMPLES = cli.ROOT / "data" / "samples"


def parser() -> argparse.ArgumentParser:
    p = cli.parser(__doc__)
    p.add_argument("--data", type=Path, help="COCO folder, annotation .json, or data.yaml")
    p.add_argument("--split", help="default: val2017, or val of a data.yaml")
    p.add_argument("--images", type=Path, help="folder of images of an annotation .json (default: beside it)")
    add_evaluation(p)
    add_boxes(p)
    return p


def dataset(args: argparse.Namespace) -> DetectionSet:
    from spiking_yolo.datasets.open import open_detection

    return open_detection(args.data or SAMPLES, args.split, args.images)


def main() -> None:
    args = parser().parse_args()
    from spiking_yolo.studies.evaluate.command import evaluate_boxes

    data = dataset(args)
    if args.data is None:
        print("no --data: the five sample photographs, which show that it runs and measure nothing")
    evaluate_boxes(args, data, voc=False)


if __name__ == "__main__":
    cli.run(main)
