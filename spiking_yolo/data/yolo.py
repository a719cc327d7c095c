"""Datasets described by an Ultralytics data.yaml, with labels in YOLO text files."""

import os
from pathlib import Path

import numpy as np
from msgspec import DecodeError, Struct
from msgspec.yaml import decode

from spiking_yolo.data.detection import DetectionSet, Sample, present
from spiking_yolo.data.images import displayed_size
from spiking_yolo.data.sources import IMAGES
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import read_text
from spiking_yolo.io.names import label, reason

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
    root = path.parent / config.path
    entries = (getattr(config, split) if split in SPLITS else None) or []
    if isinstance(entries, str):
        entries = [entries]
    files: list[str] = []
    for entry in entries:
        files += _images(entry, root, path)
    if not files:
        raise UserError(
            f"{path} has no images of the split '{split}': correct the path, or choose another"
        )
    there, notes = present(files, Path(), path)
    images = [Path(file) for file in files if file in there]
    bare = sum(not label_path(image).is_file() for image in images)
    if bare:
        notes.append(
            f"{bare} of {len(images)} images have no label file and are taken to show no objects"
        )
    samples = [read_sample(n, image, len(names)) for n, image in enumerate(images, 1)]
    return DetectionSet(f"{path.stem} {split}", tuple(map(label, names)), samples, notes)


class DataYaml(Struct):
    """The content of a data.yaml."""

    names: list[str | int | float] | dict[int, str | int | float]
    path: str = ""
    train: str | list[str] | None = None
    val: str | list[str] | None = None
    test: str | list[str] | None = None


def _read(path: Path) -> tuple[DataYaml, list[str]]:
    """The content, and the names of the classes."""
    # Whatever the text leads the parser to.
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
        raise UserError(
            f"{path} is no data.yaml, with the keys path, train, val and names"
            f" ({reason(error)}): correct it"
        ) from None


def _images(key: str, root: Path, path: Path) -> list[str]:
    """The image files of one entry of a split. Exported datasets often write ../train/images for
    train/images.
    """
    entry = root / key
    if not os.path.exists(entry):
        entry = root / key.removeprefix("../")
    if os.path.isdir(entry):
        return sorted(str(p) for p in entry.rglob("*") if p.suffix.lower() in IMAGES)
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
        if line.strip():
            rows.append(_label(line, f"{file} line {n}", classes))
    label, centre, size = np.split(np.array(rows).reshape(-1, 5), [1, 3], 1)
    boxes = np.hstack([centre - size / 2, centre + size / 2]) * (width, height, width, height)
    return Sample.of(image_id, image, (width, height), boxes, label)


def _label(line: str, where: str, classes: int) -> list[float]:
    try:
        row = list(map(float, line.split()))
        if len(row) != 5 or row[0] not in range(classes) or not all(0 <= v <= 1 for v in row[1:]):
            raise ValueError
    except ValueError:
        raise UserError(
            f"{where}: '{line.strip()[:60]}' is not 'class cx cy w h' with a class of 0 to"
            f" {classes - 1} and fractions of the image: correct it"
        ) from None
    return row
