"""COCO: annotation files, and class names (six of which VOC spells otherwise)."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from spiking_yolo.data.detection import DetectionSet, Sample, present
from spiking_yolo.errors import UserError
from spiking_yolo.io.json import read_json_file

VOC_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip

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


class Image(Struct):
    """An image of an annotation file."""

    id: int
    file_name: str
    width: Annotated[int, Meta(ge=1)]
    height: Annotated[int, Meta(ge=1)]


Length = Annotated[float, Meta(ge=0)]
# x, y, width, height in pixels.
Box = tuple[float, float, Length, Length]


class Annotation(Struct):
    """An object of an annotation file."""

    image_id: int
    category_id: int
    bbox: Box
    area: Length | None = None
    iscrowd: Literal[0, 1] = 0


class Category(Struct):
    """A class of an annotation file."""

    id: int
    name: str


class Annotations(Struct):
    """What is read of an annotation file."""

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


def read_annotations(path: Path) -> Annotations:
    """Read and check an annotation file. Raises UserError if it is missing or not COCO."""
    data = read_json_file(path, Annotations)
    images = {image.id for image in data.images}
    categories = {category.id for category in data.categories}
    if len(images) < len(data.images) or len(categories) < len(data.categories) or not images:
        raise UserError(f"{path} has no images, or gives an id twice: number them anew")
    for n, item in enumerate(data.annotations):
        if item.image_id not in images or item.category_id not in categories:
            raise UserError(f"{path}: annotations[{n}] is of an image or category not listed")
    return data


def load_coco(root: str | Path, split: str = "") -> DetectionSet:
    """A split of a COCO folder: annotations/instances_{split}.json, with images in {split}/ or
    images/{split}/.

    Raises:
        UserError: There is no such annotation file, or `load_coco_json` refuses it.
    """
    root = Path(root)
    path = root / "annotations" / f"instances_{split}.json"
    if not path.is_file():
        raise UserError(f"{path} is missing: pass a COCO folder, and a split that it has")
    folder = root / split
    if not folder.is_dir():
        folder = root / "images" / split
    return load_coco_json(path, folder)


def load_coco_json(path: str | Path, images_dir: str | Path | None) -> DetectionSet:
    """The images and objects of one annotation file, with its ids.

    Absent images are left out, which is noted.

    Args:
        path: The file.
        images_dir: Folder of the photographs, None if none will be opened.

    Raises:
        UserError: The file is missing or not COCO, lists no image, or none of its images exists.
    """
    path, folder = Path(path), Path(images_dir or "")
    data = read_annotations(path)
    objects: dict[int, list[Annotation]] = defaultdict(list)
    for item in data.annotations:
        objects[item.image_id].append(item)
    there = {image.file_name for image in data.images}
    notes: list[str] = []
    if images_dir is not None:
        there, notes = present([image.file_name for image in data.images], folder, path)
    samples: list[Sample] = []
    for image in data.images:
        if image.file_name in there:
            samples.append(_sample(image, objects[image.id], folder))
    names = tuple([category.name for category in data.categories])
    ids = tuple([category.id for category in data.categories])
    name = path.stem.removeprefix("instances_")
    return DetectionSet(name, names, samples, notes, ids, has_ids=True)


def _sample(image: Image, items: Sequence[Annotation], folder: Path) -> Sample:
    boxes: list[tuple[float, ...]] = []
    areas: list[float] = []
    for item in items:
        x, y, width, height = item.bbox
        boxes.append((x, y, x + width, y + height))
        areas.append(width * height if item.area is None else item.area)
    labels = [item.category_id for item in items]
    crowds = [item.iscrowd for item in items]
    path, size = folder / image.file_name, (image.width, image.height)
    return Sample.of(image.id, path, size, boxes, labels, crowds, areas)


def matched_classes(dataset: DetectionSet, names: Sequence[str]) -> tuple[int, ...]:
    """The index in `dataset.classes` of each class of a network, -1 if the dataset lacks it.

    They are matched by name, where VOC's and COCO's names of a class count as equal.

    Args:
        dataset: The dataset.
        names: The network's classes.

    Raises:
        UserError: The network does not know a class of the dataset.
    """
    places = match_names(dataset.classes, names)
    if -1 in places:
        raise UserError(
            f"the network does not know the class '{dataset.classes[places.index(-1)]}'"
            f" ({places.count(-1)} unknown): give a network that has it"
        )
    return match_names(names, dataset.classes)
