"""COCO's JSON format: reading it with checks, and converting any detection set to it."""

from pathlib import Path
from typing import Any

from spiking_yolo.datasets.detection import DetectionSet
from spiking_yolo.errors import UserError
from spiking_yolo.io.names import label
from spiking_yolo.io.typed_json import read_json_file

FARTHEST = 1e12  # pixels or square pixels, whatever the annotation
LARGEST = 2**63  # of what is counted or numbered


def read_annotations(path: Path) -> dict[str, Any]:
    """Read and check an annotation file. Raises UserError naming it and the first entry that is not COCO."""
    data = read_json_file(path, "the annotation file of the split")
    wanted = {
        "images": {"id": int, "file_name": str, "width": int, "height": int},
        "annotations": {"image_id": int, "category_id": int, "bbox": list},
        "categories": {"id": int, "name": str},
    }
    for part, keys in wanted.items():
        if not isinstance(data, dict) or not isinstance(data.get(part), list):
            raise UserError(f"{path} has no list '{part}', so it is not COCO: pass an instances json")
        for n, item in enumerate(data[part]):
            for key, kind in keys.items():
                value = item.get(key) if isinstance(item, dict) else None
                if type(value) is not kind or (isinstance(value, int) and abs(value) >= LARGEST):
                    raise UserError(f"{path} is not COCO: {part}[{n}] has no {key} ({kind.__name__}); correct it")
    for n, image in enumerate(data["images"]):
        if min(image["width"], image["height"]) < 1:
            raise UserError(f"{path}: images[{n}] needs a size of at least one pixel; correct it")
    images, categories = ([item["id"] for item in data[part]] for part in ("images", "categories"))
    for part, ids in (("images", images), ("categories", categories)):
        if len(set(ids)) < len(ids):
            raise UserError(f"{path} gives an id of '{part}' twice: number them anew")
    known = set(images), set(categories)
    for n, item in enumerate(data["annotations"]):
        if item["image_id"] not in known[0] or item["category_id"] not in known[1]:
            raise UserError(f"{path}: annotations[{n}] names an image or category that is not listed: add it")
        if not is_box(item["bbox"]):
            raise UserError(f"{path}: annotations[{n}] needs a bbox x, y, width, height, got {label(item['bbox'])}")
        if not is_number(item.get("area", 0), 0):
            raise UserError(f"{path}: annotations[{n}] needs an area in square pixels, or none: correct it")
        if type(item.get("id", 0)) is not int or abs(item.get("id", 0)) >= LARGEST:
            raise UserError(f"{path}: annotations[{n}] needs an id that is a whole number, or none: correct it")
        if item.get("iscrowd", 0) not in (0, 1):
            raise UserError(f"{path}: annotations[{n}] needs an iscrowd of 0 or 1, or none: correct it")
    return data


def is_box(value: Any) -> bool:
    """Whether it is x, y, width, height."""
    return isinstance(value, list) and len(value) == 4 and all(map(is_number, value)) and min(value[2:]) >= 0


def is_number(value: Any, least: float = -FARTHEST) -> bool:
    return type(value) in (int, float) and least <= value <= FARTHEST


def as_coco(dataset: DetectionSet) -> dict[str, Any]:
    """Any set as a COCO dict. Image ids are positions in `samples`, counted from 1; so are category ids in `classes`.

    Ignored objects become crowds: a detection of one counts neither way.
    """
    annotations = []
    data = dataset.indexed()
    for image_id, s in enumerate(data.samples, 1):
        for (x1, y1, x2, y2), index, area, ignored in zip(s.boxes.tolist(), s.labels, s.area, s.ignored, strict=True):
            row = {"id": len(annotations) + 1, "image_id": image_id, "category_id": int(index) + 1}
            row |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": float(area), "iscrowd": int(ignored)}
            annotations.append(row)
    images = [
        {"id": i, "file_name": s.path.name, "width": s.width, "height": s.height} for i, s in enumerate(data.samples, 1)
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(data.classes, 1)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}
