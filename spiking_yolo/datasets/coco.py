"""COCO: the official layout, or any JSON file of its format with a folder of images."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spiking_yolo.datasets.coco_json import read_annotations
from spiking_yolo.datasets.detection import DetectionSet, Sample, outside_notes, present
from spiking_yolo.datasets.names import COCO_IDS, match_names
from spiking_yolo.errors import UserError


@dataclass(frozen=True)
class CocoSet(DetectionSet):
    """A DetectionSet whose labels are the file's category ids.

    annotations: the whole file, for pycocotools; it may list images that are absent, so score the image ids of
    `samples` only. category_ids: the ids of `classes`, in the file's order.
    """

    annotations: dict[str, Any] = field(default_factory=dict)


def load_coco(root: str | Path, split: str = "") -> CocoSet:
    """A split of a COCO folder.

    Official layout: annotations/instances_{split}.json, with images in {split}/ or images/{split}/. Otherwise the flat
    layout, which ignores `split`: instances.json, with images beside it or in images/.
    Raises UserError as `load_coco_json` does, and when there is no annotation file.
    """
    root = Path(root)
    official, flat = root / "annotations" / f"instances_{split}.json", root / "instances.json"
    if official.is_file():
        folders = (root / split, root / "images" / split)
        return load_coco_json(official, next((f for f in folders if f.is_dir()), folders[0]))
    if flat.is_file():
        return load_coco_json(flat, root / "images" if (root / "images").is_dir() else root)
    have = sorted(p.stem.removeprefix("instances_") for p in root.glob("annotations/instances_*.json"))
    raise UserError(
        f"{official} is missing: pass a COCO folder and one of its splits (found: {', '.join(have) or 'none'}), "
        "a VOCdevkit (with VOC2012 or another year) or a data.yaml"
    )


def load_coco_json(path: str | Path, images_dir: str | Path | None) -> CocoSet:
    """The images and objects of one annotation file. images_dir: None where the image files are not wanted.

    Absent images are left out and boxes beyond their image are kept; both are noted. Raises UserError, naming the
    file, when it is missing, not JSON, not COCO, inconsistent, lists no image, or when none of its images exists.
    """
    path = Path(path)
    data = read_annotations(path)
    if not data["images"]:
        raise UserError(f"{path} lists no images: pass a split with images")
    objects = defaultdict(list)
    for item in data["annotations"]:
        objects[item["image_id"]].append(item)
    names = [image["file_name"] for image in data["images"]]
    there, notes = (names, []) if images_dir is None else present(names, Path(images_dir), path)
    folder = Path(images_dir or "")
    samples = [_sample(image, objects[image["id"]], folder) for image in data["images"] if image["file_name"] in there]
    classes, ids = (tuple(category[key] for category in data["categories"]) for key in ("name", "id"))
    name = path.stem.removeprefix("instances_")
    return CocoSet(name, classes, samples, notes + outside_notes(samples), ids, data)


def _sample(image: dict[str, Any], items: list[dict[str, Any]], folder: Path) -> Sample:
    boxes = [(x, y, x + w, y + h) for x, y, w, h in (item["bbox"] for item in items)]
    return Sample.of(
        image["id"],
        folder / image["file_name"],
        (image["width"], image["height"]),
        boxes,
        [item["category_id"] for item in items],
        ignored=[item.get("iscrowd", 0) for item in items],
        area=[item.get("area", item["bbox"][2] * item["bbox"][3]) for item in items],
    )


def category_index(categories: Sequence[dict[str, Any]], spec_names: Sequence[str]) -> tuple[int, ...]:
    """The category id of each class of a network, -1 where the dataset has no such category.

    categories: the annotation file's list. COCO's 80 ids match 80 outputs by position, whatever the spelling; any
    other list is matched by name, where VOC's and COCO's names of a class are equal.
    Raises UserError for a category that the network does not know.
    """
    ids = tuple(c["id"] for c in categories)
    if len(spec_names) == len(COCO_IDS) and set(ids) == set(COCO_IDS):
        return COCO_IDS
    names = [c["name"] for c in categories]
    unknown = [name for name, i in zip(names, match_names(names, spec_names), strict=True) if i < 0]
    if unknown:
        raise UserError(
            f"the network does not know the category '{unknown[0]}' ({len(unknown)} unknown): remove it from "
            "the annotations, or pass a network that has it"
        )
    return tuple(-1 if i < 0 else ids[i] for i in match_names(spec_names, names))
