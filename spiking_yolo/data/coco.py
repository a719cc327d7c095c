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
    """The index in `classes` of each of `names`, -1 where absent; names are compared by
    `canonical`.
    """
    index = {canonical(name): i for i, name in reversed(list(enumerate(classes)))}
    return tuple(index.get(canonical(name), -1) for name in names)


# Pixels or square pixels, whatever the annotation.
FARTHEST = 1e12
LARGEST = 2**63  # of what is counted or numbered


def read_annotations(path: Path) -> dict[str, Any]:
    """Read and check an annotation file. Raises UserError naming it and the first entry that is not
    COCO.
    """
    data = read_json_file(path, "the annotation file of the split")
    wanted = {
        "images": {"id": int, "file_name": str, "width": int, "height": int},
        "annotations": {"image_id": int, "category_id": int, "bbox": list},
        "categories": {"id": int, "name": str},
    }
    for part, keys in wanted.items():
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
            raise UserError(
                f"{path}: annotations[{n}] names an image or category that is not listed: add it"
            )
        if not is_box(item["bbox"]):
            raise UserError(
                f"{path}: annotations[{n}] needs a bbox x, y, width, height, got"
                f" {label(item['bbox'])}"
            )
        if not is_number(item.get("area", 0), 0):
            raise UserError(
                f"{path}: annotations[{n}] needs an area in square pixels, or none: correct it"
            )
        if type(item.get("id", 0)) is not int or abs(item.get("id", 0)) >= LARGEST:
            raise UserError(
                f"{path}: annotations[{n}] needs an id that is a whole number, or none: correct it"
            )
        if item.get("iscrowd", 0) not in (0, 1):
            raise UserError(
                f"{path}: annotations[{n}] needs an iscrowd of 0 or 1, or none: correct it"
            )
    return data


def is_box(value: Any) -> bool:
    """Whether it is x, y, width, height."""
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(map(is_number, value))
        and min(value[2:]) >= 0
    )


def is_number(value: Any, least: float = -FARTHEST) -> bool:
    return type(value) in (int, float) and least <= value <= FARTHEST


def as_coco(dataset: DetectionSet) -> dict[str, Any]:
    """The annotations of `DetectionSet.as_coco`."""
    return dataset.as_coco().annotations


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
    Otherwise the flat layout, which ignores `split`: instances.json, with images beside it or in
    images/. Raises UserError as `load_coco_json` does, and when there is no annotation file.
    """
    root = Path(root)
    official, flat = root / "annotations" / f"instances_{split}.json", root / "instances.json"
    if official.is_file():
        folders = (root / split, root / "images" / split)
        return load_coco_json(official, next((f for f in folders if f.is_dir()), folders[0]))
    if flat.is_file():
        return load_coco_json(flat, root / "images" if (root / "images").is_dir() else root)
    have = sorted(
        p.stem.removeprefix("instances_") for p in root.glob("annotations/instances_*.json")
    )
    raise UserError(
        f"{official} is missing: pass a COCO folder and one of its splits (found:"
        f" {', '.join(have) or 'none'}), a VOCdevkit (with VOC2012 or another year) or a data.yaml"
    )


def load_coco_json(path: str | Path, images_dir: str | Path | None) -> CocoSet:
    """The images and objects of one annotation file. images_dir: None if no photograph will be
    opened.

    Absent images are left out and boxes beyond their image are kept; both are noted. Raises
    UserError, naming the file, when it is missing, not JSON, not COCO, inconsistent, lists no
    image, or when none of its images exists.
    """
    path, folder = Path(path), Path(images_dir or "")
    data = read_annotations(path)
    if not data["images"]:
        raise UserError(f"{path} lists no images: pass a split with images")
    objects = defaultdict(list)
    for item in data["annotations"]:
        objects[item["image_id"]].append(item)
    files = [image["file_name"] for image in data["images"]]
    there, notes = (set(files), []) if images_dir is None else present(files, folder, path)
    samples = [
        _sample(image, objects[image["id"]], folder)
        for image in data["images"]
        if image["file_name"] in there
    ]
    names, ids = (tuple(category[key] for category in data["categories"]) for key in ("name", "id"))
    name = path.stem.removeprefix("instances_")
    return CocoSet(name, names, samples, notes + outside_notes(samples), ids, data)


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


def category_index(
    categories: Sequence[dict[str, Any]], spec_names: Sequence[str]
) -> tuple[int, ...]:
    """The category id of each class of a network, -1 where the dataset has no such category.

    categories: the annotation file's list. COCO's 80 ids match 80 outputs by position, whatever the
    spelling; any other list is matched by name, where VOC's and COCO's names of a class are equal.
    Raises UserError for a category that the network does not know.
    """
    ids = tuple(c["id"] for c in categories)
    if len(spec_names) == len(COCO_IDS) and set(ids) == set(COCO_IDS):
        return COCO_IDS
    names = [c["name"] for c in categories]
    unknown = [name for name, i in zip(names, match_names(names, spec_names), strict=True) if i < 0]
    if unknown:
        raise UserError(
            f"the network does not know the category '{unknown[0]}' ({len(unknown)} unknown):"
            " remove it from the annotations, or pass a network that has it"
        )
    return tuple(-1 if i < 0 else ids[i] for i in match_names(spec_names, names))


HINT = (
    "call it as the data do, by its id in an annotation .json (eval writes instances.json) or by"
    " its name"
)
# image_id, category_id, bbox [x, y, width, height] in pixels, score.
Row = dict[str, Any]


def read_predictions(
    path: Path, image_ids: Mapping[Any, Any], category_ids: Mapping[Any, Any]
) -> list[Row]:
    """The rows of a results file.

    image_ids, category_ids: those that are known; the rows get what these stand for. Raises
    UserError, naming the file and the first row that is wrong.
    """
    rows = read_json_file(path, "the boxes that were found, a list in COCO's results format")
    if not isinstance(rows, list):
        raise UserError(f"{path} is no list of boxes: pass a file in COCO's results format")
    return [_row(path, n, row, image_ids, category_ids) for n, row in enumerate(rows)]


def _row(
    path: Path, n: int, row: Any, images: Mapping[Any, Any], categories: Mapping[Any, Any]
) -> Row:
    wanted = {"image_id", "category_id", "bbox", "score"}
    if not isinstance(row, dict) or not wanted <= row.keys():
        raise UserError(f"{path}: row {n} needs {', '.join(sorted(wanted))}; correct it")
    image, category = _known(row["image_id"], images), _known(row["category_id"], categories)
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
        "bbox": [float(v) for v in box],
        "score": float(row["score"]),
    }


def _known(key: Any, known: Mapping[Any, Any]) -> Any:
    return known.get(key) if isinstance(key, int | str) and not isinstance(key, bool) else None
