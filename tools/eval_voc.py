"""Score a spiking network on PASCAL VOC: mAP, spikes, operations and energy at every timestep, from one pass.

    python tools/eval_voc.py --data VOCdevkit --year 2012 --split val --weights W --T 256
    python tools/eval_voc.py --data VOCdevkit --limit 200 --seed 0 --bootstrap 1000
    python tools/eval_voc.py --data mine/data.yaml --split val      # labels as Ultralytics has them

mAP_07 is the 11-point rule of 2007, mAP_area the rule of 2010 and later. A network trained on COCO is scored by the
names of its classes. PROJECT/NAME gets results.json, results.csv, predictions in COCO's format and plots; --resume goes
on after an interruption and gives the same figures.
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


def parser() -> argparse.ArgumentParser:
    p = cli.parser(__doc__)
    p.add_argument("--data", type=Path, required=True, help="the folder VOCdevkit, or data.yaml")
    p.add_argument("--year", default="2012", help="of the VOCdevkit (default %(default)s)")
    p.add_argument("--split", default="val", help="default %(default)s")
    add_evaluation(p)
    add_boxes(p)
    return p


def dataset(args: argparse.Namespace) -> DetectionSet:
    from spiking_yolo.datasets.voc import load_voc
    from spiking_yolo.datasets.yolo_yaml import load_data_yaml

    if args.data.suffix in (".yaml", ".yml"):
        return load_data_yaml(args.data, args.split)
    return load_voc(args.data, args.year, args.split)


def main() -> None:
    args = parser().parse_args()
    from spiking_yolo.studies.evaluate.command import evaluate_boxes

    evaluate_boxes(args, dataset(args), voc=True)


if __name__ == "__main__":
    cli.run(main)
