"""Annotations of COCO, PASCAL VOC and YOLO, each with the images that it is of.

COCO: an annotation file. VOC: the layout of its devkit, whose XML is read here because
torchvision's VOCDetection takes no custom split and checks neither sizes nor files. YOLO: a
data.yaml as Ultralytics has it, with labels in text files.
"""

import glob
import math
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal
from xml.etree import ElementTree

import numpy as np
from msgspec import DecodeError, Meta, Struct
from msgspec.yaml import decode

from spiking_yolo.data.datasets import DetectionSet, Sample, present
from spiking_yolo.data.images import displayed_size
from spiking_yolo.data.sources import IMAGES
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import read_text, regular
from spiking_yolo.io.text import label, read_json_file, reason

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
    """Spell a class in one way: in lower case, by VOC's name where COCO has another."""
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
    """The part of an annotation file that is read."""

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
    return load_coco_json(path, images=folder)


def load_coco_json(path: Path, split: str = "", images: Path | None = None) -> DetectionSet:
    """The images and objects of one annotation file, with its ids.

    Absent images are left out, which is noted.

    Args:
        path: The file.
        split: A file has none.
        images: Folder of the photographs, by default that of the file.

    Raises:
        UserError: The file is missing or not COCO, lists no image, or none of its images exists.
    """
    data, folder = read_annotations(path), images or path.parent
    objects: dict[int, list[Annotation]] = defaultdict(list)
    for item in data.annotations:
        objects[item.image_id].append(item)
    there, notes = present([image.file_name for image in data.images], folder, path)
    # Some exporters list the group of a class beside it, by the same name and without objects.
    used = {item.category_id for item in data.annotations}
    times = Counter(canonical(category.name) for category in data.categories)
    categories: list[Category] = []
    for category in data.categories:
        if category.id in used or times[canonical(category.name)] == 1:
            categories.append(category)
    samples: list[Sample] = []
    for image in data.images:
        if image.file_name not in there:
            continue
        boxes: list[tuple[float, ...]] = []
        areas: list[float] = []
        for item in objects[image.id]:
            x, y, width, height = item.bbox
            boxes.append((x, y, x + width, y + height))
            areas.append(width * height if item.area is None else item.area)
        labels = [item.category_id for item in objects[image.id]]
        crowds = [item.iscrowd for item in objects[image.id]]
        path_of_image, size = folder / image.file_name, (image.width, image.height)
        samples.append(Sample.of(image.id, path_of_image, size, boxes, labels, crowds, areas))
    names = tuple([category.name for category in categories])
    ids = tuple([category.id for category in categories])
    name = path.stem.removeprefix("instances_")
    return DetectionSet(name, names, samples, notes, ids, has_ids=True)


def matched_classes(dataset: DetectionSet, names: Sequence[str]) -> tuple[int, ...]:
    """The index in `dataset.classes` of each class of a network, -1 if the dataset lacks it.

    They are matched by name, where VOC's and COCO's names of a class count as equal.

    Args:
        dataset: The dataset.
        names: The network's classes.

    Raises:
        UserError: The network does not know a class of the dataset.
    """
    for name, times in Counter(map(canonical, dataset.classes)).items():
        if times > 1:
            raise UserError(f"{dataset.name} has {times} classes called '{name}': make them one")
    places = match_names(dataset.classes, names)
    if -1 in places:
        first = dataset.classes[places.index(-1)]
        count = places.count(-1)
        raise UserError(f"the network lacks '{first}' ({count} unknown): give --data that it knows")
    return match_names(names, dataset.classes)


_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def voc_years(data: Path) -> list[int]:
    """The years of a VOCdevkit, in order; none elsewhere."""
    years = [folder.name[3:] for folder in data.glob("VOC[0-9]*")]
    return sorted(int(year) for year in years if year.isdecimal())


def load_voc(devkit: Path, split: str, year: int | None = None) -> DetectionSet:
    """A split of a VOCdevkit: ImageSets/Main/SPLIT.txt, Annotations/*.xml, JPEGImages/*.jpg.

    image_id is the file's stem; labels are indices of VOC_NAMES. VOC counts pixels from 1, boxes
    here from 0 (all four coordinates are one less, as darknet trains on them).

    Args:
        devkit: The folder VOCdevkit.
        split: Its name, such as train or val.
        year: Year of VOC{year}/ in it, by default the latest.

    Raises:
        UserError: The split or an XML file is missing or malformed; names the file.
    """
    year = year or voc_years(devkit)[-1]
    base = devkit / f"VOC{year}"
    listing = base / "ImageSets" / "Main" / f"{split}.txt"
    if not listing.is_file():
        raise UserError(f"{listing} is missing: pass VOCdevkit, and a year and a split that it has")
    # A list of a class has a number behind each name that says whether the image shows it.
    stems = [line.split()[0] for line in read_text(listing).splitlines() if line.strip()]
    if not stems:
        raise UserError(f"{listing} lists no images: pass a split with images")
    images = base / "JPEGImages"
    there, notes = present([f"{stem}.jpg" for stem in stems], images, listing)
    samples: list[Sample] = []
    for stem in stems:
        if f"{stem}.jpg" in there:
            samples.append(read_xml(base / "Annotations" / f"{stem}.xml", images / f"{stem}.jpg"))
    return DetectionSet(f"VOC{year} {split}", VOC_NAMES, samples, notes, metric="voc")


def read_xml(xml: Path, image: Path) -> Sample:
    """Read an annotation file. Raises UserError if it is missing or not in VOC's format."""
    boxes: list[list[float]] = []
    labels: list[int] = []
    difficult: list[bool] = []
    try:
        root = ElementTree.parse(regular(xml)).getroot()
        width, height = (int(root.findtext(f"size/{side}", "")) for side in ("width", "height"))
        for item in root.findall("object"):
            labels.append(VOC_NAMES.index(item.findtext("name", "").strip()))
            # VOC counts pixels from 1.
            box = [float(item.findtext(f"bndbox/{corner}", "")) - 1 for corner in _CORNERS]
            if not (box[0] <= box[2] < math.inf and box[1] <= box[3] < math.inf):
                raise ValueError(f"the box {box}")
            boxes.append(box)
            difficult.append(item.findtext("difficult", "0").strip() == "1")
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:
        said = f"{xml} is no annotation of VOC, with a size and objects of its classes"
        raise UserError(f"{said} ({reason(error)}): correct it") from None
    return Sample.of(xml.stem, image, (width, height), boxes, labels, difficult)


SPLITS = ("train", "val", "test")


def load_data_yaml(path: str | Path, split: str = "val") -> DetectionSet:
    """A split of a data.yaml with the keys path (default: its folder), train, val and names.

    A split is a folder of images, a text file that lists images, or a list of these. The labels of
    images/a.jpg are in labels/a.txt, one line `class cx cy w h` per object, in fractions of the
    displayed image; an image without label file has no objects, which is noted. image_id counts
    from 1.

    Raises:
        UserError: A key is missing, an image cannot be opened, or a label is malformed; names file
            and line.
    """
    path = Path(path)
    config, names = _read(path)
    root = path.parent / (config.path or "")
    entries = (getattr(config, split) if split in SPLITS else None) or []
    if isinstance(entries, str):
        entries = [entries]
    files: list[str] = []
    for entry in entries:
        files += _images(entry, root, path)
    if not files:
        raise UserError(f"{path} has no images of the split '{split}': choose another")
    there, notes = present(files, Path(), path)
    images = [Path(file) for file in files if file in there]
    bare = sum(not label_path(image).is_file() for image in images)
    if bare:
        said = "images have no label file and are taken to show no objects"
        notes.append(f"{bare} of {len(images)} {said}")
    samples = [read_sample(n, image, len(names)) for n, image in enumerate(images, 1)]
    return DetectionSet(f"{path.stem} {split}", tuple(map(label, names)), samples, notes)


class DataYaml(Struct):
    """The content of a data.yaml."""

    names: list[str | int | float] | dict[int, str | int | float]
    path: str | None = None
    train: str | list[str] | None = None
    val: str | list[str] | None = None
    test: str | list[str] | None = None


def _read(path: Path) -> tuple[DataYaml, list[str]]:
    """The content, and the names of the classes."""
    # The parser raises whatever the text leads it to.
    invalid = (DecodeError, RecursionError, ValueError, LookupError, TypeError, AttributeError)
    text = read_text(path)
    try:
        config = decode(text, type=DataYaml)
        names = config.names
        if isinstance(names, dict):
            names = [names[i] for i in range(len(names))]
        if not names:
            raise ValueError("it names no class")
        return config, list(map(str, names))
    except invalid as error:
        said = f"{path} is no data.yaml, with the keys path, train, val and names"
        raise UserError(f"{said} ({reason(error)}): correct it") from None


def _images(key: str, root: Path, path: Path) -> list[str]:
    """The image files of one entry of a split. Exported datasets often write ../train/images for
    train/images.
    """
    entry = root / key
    if not os.path.exists(entry):
        entry = root / key.removeprefix("../")
    if os.path.isdir(entry):
        # A glob follows links to folders.
        found = glob.iglob(f"{glob.escape(str(entry))}/**", recursive=True)
        return sorted(name for name in found if Path(name).suffix.lower() in IMAGES)
    if not os.path.isfile(entry):
        raise UserError(f"{path} names {entry}, which does not exist: correct the path")
    images: list[str] = []
    for line in read_text(entry).splitlines():
        if line := line.strip():
            image = entry.parent / line
            if not os.path.isfile(image):
                image = root / line
            images.append(str(image))
    return images


def label_path(image: Path) -> Path:
    """The label file of an image: its last folder `images` becomes `labels`, its suffix .txt."""
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def read_sample(image_id: int, image: Path, classes: int) -> Sample:
    """Read the size and labels of an image. Raises UserError that names the file and line."""
    width, height = displayed_size(image)
    file = label_path(image)
    rows: list[list[float]] = []
    text = ""
    if file.exists():
        text = read_text(file)
    for n, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = list(map(float, line.split()))
            inside = all(0 <= v <= 1 for v in row[1:])
            if len(row) != 5 or row[0] not in range(classes) or not inside:
                raise ValueError
        except ValueError:
            needed = f"'class cx cy w h', a class of 0 to {classes - 1} and fractions of the image"
            said = f"{file} line {n}: '{line.strip()[:60]}' is not {needed}"
            raise UserError(f"{said}: correct it") from None
        rows.append(row)
    label, centre, size = np.split(np.array(rows).reshape(-1, 5), [1, 3], 1)
    boxes = np.hstack([centre - size / 2, centre + size / 2]) * (width, height, width, height)
    return Sample.of(image_id, image, (width, height), boxes, label)
