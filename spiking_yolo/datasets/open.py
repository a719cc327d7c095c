"""A dataset from whatever a person names: COCO, VOC, Ultralytics; CIFAR, ImageNet and the like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spiking_yolo.datasets.detection import DetectionSet
from spiking_yolo.errors import UserError

if TYPE_CHECKING:
    from spiking_yolo.datasets.labelled import LabelledSet

UNPACKED = "data"  # folder beside the runs in which archives are unpacked, by whichever tool needs one first


def open_detection(data: Path, split: str | None = None, images: Path | None = None) -> DetectionSet:
    """COCO folder, annotation .json (with its folder of images), VOCdevkit, or data.yaml.

    split: by default val2017 of a COCO folder and val of the others.
    Raises UserError when it is none of them or its files do not fit.
    """
    from spiking_yolo.datasets.coco import load_coco, load_coco_json
    from spiking_yolo.datasets.voc import load_voc
    from spiking_yolo.datasets.yolo_yaml import load_data_yaml

    if data.suffix == ".json":
        return load_coco_json(data, images or data.parent)
    if images is not None:
        raise UserError("--images belongs to an annotation file: give it as --data FILE.json")
    if data.suffix in (".yaml", ".yml"):
        return load_data_yaml(data, split or "val")
    if years := sorted(data.glob("VOC[0-9]*")):
        return load_voc(data, int(years[-1].name[3:]), split or "val")
    return load_coco(data, split or ("" if (data / "instances.json").is_file() else "val2017"))


def open_classification(data: Path, split: str | None = None, cache: Path = Path("runs") / UNPACKED) -> LabelledSet:
    """CIFAR-100 as torchvision keeps it, or SPLIT/CLASS/ folders of images: CIFAR-10, ImageNet, one's own.

    data: the folder, or a tar file of one, which is unpacked once into `cache`. split: by default the one to report on:
    test, or val where the folder has that instead. Raises UserError for anything else.
    """
    from spiking_yolo.datasets.classification import SPLITS, load_classification

    if (data / "cifar-100-python").is_dir():
        name = "cifar100"
    else:
        name = "imagenet" if (data / "val").is_dir() and not (data / "test").is_dir() else "cifar10"
    return load_classification(name, data, split or SPLITS[name][1], cache)
