"""A detection dataset from whatever a person names: COCO, VOC or Ultralytics."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from .detection import DetectionSet


def open_detection(data: Path, split: str | None = None, images: Path | None = None) -> DetectionSet:
    """COCO folder, annotation .json (with its folder of images), VOCdevkit, or data.yaml.

    split: by default val2017 of a COCO folder and val of the others.
    Raises UserError when it is none of them or its files do not fit.
    """
    from .coco import load_coco, load_coco_json
    from .voc import load_voc
    from .yolo_yaml import load_data_yaml

    if data.suffix == ".json":
        return load_coco_json(data, images or data.parent)
    if images is not None:
        raise UserError("--images belongs to an annotation file: give it as --data FILE.json")
    if data.suffix in (".yaml", ".yml"):
        return load_data_yaml(data, split or "val")
    if years := sorted(data.glob("VOC[0-9]*")):
        return load_voc(data, int(years[-1].name[3:]), split or "val")
    return load_coco(data, split or ("" if (data / "instances.json").is_file() else "val2017"))
