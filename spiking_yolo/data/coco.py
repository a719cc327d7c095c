"""COCO: annotation files, results files, and class names (six of which VOC spells otherwise)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from spiking_yolo.data.detection import CocoTruth, DetectionSet, Sample, outside_notes, present
from spiking_yolo.errors import UserError
from spiking_yolo.io.json import read_json_file
from spiking_yolo.io.names import label

VOC_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip

# COCO numbers its 80 classes with gaps between 1 and 90; index 0..79 is the order of a network's
# outputs.
_UNUSED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
COCO_IDS = tuple(i for i in range(1, 91) if i not in _UNUSED)

# COCO's own spelling of the six classes that darknet's coco.names spells as VOC does.
COCO_TO_VOC_SPELLING = {
    "airplane": "aeroplane",
    "couch": "sofa",
    "dining table": "diningtable",
    "motorcycle": "motorbike",
    "potted plant": "pottedplant",
    "tv": "tvmonitor",
}


def canonical(name: str) -> str:
    """One spelling per class: lower case, and VOC's name where COCO has another."""
    name = name.strip().lower()
    return COCO_TO_VOC_SPELLING.get(name, name)


def match_names(names: Sequence[str], classes: Sequence[str]) -> tuple[int, ...]:
    """The index in `classes` of each name, -1 if absent; compared by `canonical`."""
    index: dict[str, int] = {}
    for i, name in enumerate(classes):
        index.setdefault(canonical(name), i)
    return tuple(index.get(canonical(name), -1) for name in names)


# Of coordinates and areas in pixels, at most.
FARTHEST = 1e12
# Of ids and counts.
LARGEST = 2**63
_REQUIRED = {
    "images": {"id": int, "file_name": str, "width": int, "height": int},
    "annotations": {"image_id": int, "category_id": int, "bbox": list},
    "categories": {"id": int, "name": str},
}


def read_annotations(path: Path) -> dict[str, Any]:
    """Read and check an annotation file.

    Raises:
        UserError: It is missing or not COCO; names the first entry that is wrong.
    """
    data = read_json_file(path)
    _check_keys(path, data)
    for n, image in enumerate(data["images"]):
        if min(image["width"], image["height"]) < 1:
            raise UserError(f"{path}: images[{n}] needs a size of at least one pixel; correct it")
    image_ids = _ids(path, data, "images")
    category_ids = _ids(path, data, "categories")
    for n, item in enumerate(data["annotations"]):
        if item["image_id"] not in image_ids or item["category_id"] not in category_ids:
            raise UserError(
                f"{path}: annotations[{n}] names an image or category that is not listed: add it"
            )
        if problem := _annotation_problem(item):
            raise UserError(f"{path}: annotations[{n}] needs {problem}")
    return data


def _check_keys(path: Path, data: Any) -> None:
    for part, keys in _REQUIRED.items():
        if not isinstance(data, dict) or not isinstance(data.get(part), list):
            raise UserError(
                f"{path} has no list '{part}', so it is not COCO: pass an instances json"
            )
        for n, item in enumerate(data[part]):
            for key, kind in keys.items():
                value = item.get(key) if isinstance(item, dict) else None
                if type(value) is not kind or (isinstance(value, int) and abs(value) >= LARGEST):
                    raise UserError(
                        f"{path} is not COCO: {part}[{n}] has no {key} ({kind.__name__});"
                        " correct it"
                    )


def _ids(path: Path, data: dict[str, Any], part: str) -> set[int]:
    ids = {item["id"] for item in data[part]}
    if len(ids) < len(data[part]):
        raise UserError(f"{path} gives an id of '{part}' twice: number them anew")
    return ids


def _annotation_problem(item: dict[str, Any]) -> str:
    """What an annotation needs, "" if nothing is wrong."""
    if not is_box(item["bbox"]):
        return f"a bbox x, y, width, height, got {label(item['bbox'])}"
    if not is_number(item.get("area", 0), 0):
        return "an area in square pixels, or none: correct it"
    if type(item.get("id", 0)) is not int or abs(item.get("id", 0)) >= LARGEST:
        return "an id that is a whole number, or none: correct it"
    if item.get("iscrowd", 0) not in (0, 1):
        return "an iscrowd of 0 or 1, or none: correct it"
    return ""


def is_box(value: Any) -> bool:
    """Whether it is x, y, width, height."""
    if not isinstance(value, list) or len(value) != 4:
        return False
    return all(map(is_number, value)) and min(value[2:]) >= 0


def is_number(value: Any, least: float = -FARTHEST) -> bool:
    return type(value) in (int, float) and least <= value <= FARTHEST


@dataclass(frozen=True)
class CocoSet(DetectionSet):
    """A DetectionSet from an annotation file, with the file's ids.

    Attributes:
        annotations: The whole file. It may list images that are absent.
    """

    has_ids: ClassVar[bool] = True

    annotations: dict[str, Any] = field(default_factory=dict)

    def as_coco(self) -> CocoTruth:
        """The file as it is, and the ids of `samples` and `classes`."""
        image_ids = [int(sample.image_id) for sample in self.samples]
        return CocoTruth(self.annotations, image_ids, self.category_ids)


def load_coco(root: str | Path, split: str = "") -> CocoSet:
    """A split of a COCO folder.

    Official layout: annotations/instances_{split}.json, with images in {split}/ or images/{split}/.
    Flat layout, which has no splits: instances.json, with images beside it or in images/.

    Raises:
        UserError: There is no such annotation file, or `load_coco_json` refuses it.
    """
    root = Path(root)
    official = root / "annotations" / f"instances_{split}.json"
    if official.is_file():
        folder = root / split
        if not folder.is_dir() and (root / "images" / split).is_dir():
            folder = root / "images" / split
        return load_coco_json(official, folder)
    flat = root / "instances.json"
    if flat.is_file():
        folder = root
        if (root / "images").is_dir():
            folder = root / "images"
        return load_coco_json(flat, folder)
    files = root.glob("annotations/instances_*.json")
    splits = sorted(file.stem.removeprefix("instances_") for file in files)
    raise UserError(
        f"{official} is missing: pass a COCO folder and one of its splits (found:"
        f" {', '.join(splits) or 'none'})"
    )


def load_coco_json(path: str | Path, images_dir: str | Path | None) -> CocoSet:
    """The images and objects of one annotation file.

    Absent images are left out and boxes beyond their image are kept; both are noted.

    Args:
        path: The file.
        images_dir: Folder of the photographs, None if none will be opened.

    Raises:
        UserError: The file is missing or not COCO, lists no image, or none of its images exists.
    """
    path, folder = Path(path), Path(images_dir or "")
    data = read_annotations(path)
    if not data["images"]:
        raise UserError(f"{path} lists no images: pass a split with images")
    objects = defaultdict(list)
    for item in data["annotations"]:
        objects[item["image_id"]].append(item)
    files = [image["file_name"] for image in data["images"]]
    there = set(files)
    notes: list[str] = []
    if images_dir is not None:
        there, notes = present(files, folder, path)
    samples: list[Sample] = []
    for image in data["images"]:
        if image["file_name"] in there:
            samples.append(_sample(image, objects[image["id"]], folder))
    names, ids = _names_and_ids(data["categories"])
    name = path.stem.removeprefix("instances_")
    return CocoSet(name, names, samples, notes + outside_notes(samples), ids, data)


def _names_and_ids(categories: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    names: list[str] = []
    ids: list[int] = []
    for category in categories:
        names.append(category["name"])
        ids.append(category["id"])
    return tuple(names), tuple(ids)


def _sample(image: dict[str, Any], items: list[dict[str, Any]], folder: Path) -> Sample:
    boxes: list[tuple[float, ...]] = []
    labels: list[int] = []
    crowds: list[int] = []
    areas: list[float] = []
    for item in items:
        x, y, width, height = item["bbox"]
        boxes.append((x, y, x + width, y + height))
        labels.append(item["category_id"])
        crowds.append(item.get("iscrowd", 0))
        areas.append(item.get("area", width * height))
    path, size = folder / image["file_name"], (image["width"], image["height"])
    return Sample.of(image["id"], path, size, boxes, labels, crowds, areas)


def category_index(
    categories: Sequence[dict[str, Any]], spec_names: Sequence[str]
) -> tuple[int, ...]:
    """The category id of each class of a network, -1 if the dataset has no such category.

    COCO's 80 ids match 80 outputs by position, whatever the spelling. Other lists are matched by
    name, where VOC's and COCO's names of a class count as equal.

    Args:
        categories: The annotation file's list.
        spec_names: The network's classes.

    Raises:
        UserError: The network does not know a category.
    """
    names, ids = _names_and_ids(categories)
    if len(spec_names) == len(COCO_IDS) and set(ids) == set(COCO_IDS):
        return COCO_IDS
    unknown: list[str] = []
    for name, place in zip(names, match_names(names, spec_names), strict=True):
        if place < 0:
            unknown.append(name)
    if unknown:
        raise UserError(
            f"the network does not know the category '{unknown[0]}' ({len(unknown)} unknown):"
            " remove it from the annotations, or pass a network that has it"
        )
    of_place = {-1: -1, **dict(enumerate(ids))}
    return tuple(of_place[place] for place in match_names(spec_names, names))


HINT = (
    "call it as the data do, by its id in an annotation .json (eval writes instances.json) or by"
    " its name"
)
# A detection: image_id, category_id, bbox [x, y, width, height] in pixels, score.
Row = dict[str, Any]


def read_predictions(
    path: Path, image_ids: Mapping[Any, Any], category_ids: Mapping[Any, Any]
) -> list[Row]:
    """The rows of a results file.

    Args:
        path: The file.
        image_ids: Names and ids of images that the file may use, and the ids that the rows get.
        category_ids: The same of categories.

    Raises:
        UserError: It is no results file; names the first row that is wrong.
    """
    rows = read_json_file(path)
    if not isinstance(rows, list):
        raise UserError(f"{path} is no list of boxes: pass a file in COCO's results format")
    return [_row(path, n, row, image_ids, category_ids) for n, row in enumerate(rows)]


def _row(
    path: Path, n: int, row: Any, images: Mapping[Any, Any], categories: Mapping[Any, Any]
) -> Row:
    keys = {"image_id", "category_id", "bbox", "score"}
    if not isinstance(row, dict) or not keys <= row.keys():
        raise UserError(f"{path}: row {n} needs {', '.join(sorted(keys))}; correct it")
    image = _look_up(row["image_id"], images)
    category = _look_up(row["category_id"], categories)
    if image is None:
        raise UserError(
            f"{path}: row {n} is of image {row['image_id']!r}, which is not in the data: {HINT}"
        )
    if category is None:
        raise UserError(
            f"{path}: row {n} is of category {row['category_id']!r}, which is not in the data:"
            f" {HINT}"
        )
    box = row["bbox"]
    if not is_box(box):
        raise UserError(
            f"{path}: row {n} needs a bbox x, y, width, height in pixels, not {str(box)[:60]}"
        )
    if not is_number(row["score"]):
        raise UserError(
            f"{path}: row {n} needs a number as its score, not {str(row['score'])[:60]}"
        )
    return {
        "image_id": image,
        "category_id": category,
        "bbox": list(map(float, box)),
        "score": float(row["score"]),
    }


def _look_up(key: Any, table: Mapping[Any, Any]) -> Any:
    if isinstance(key, bool) or not isinstance(key, int | str):
        return None
    return table.get(key)
