"""Datasets described by an Ultralytics data.yaml, with labels in YOLO text files."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from spiking_yolo.data.detection import DetectionSet, Sample, absent_note
from spiking_yolo.data.images import open_image
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import read_text
from spiking_yolo.io.names import reason

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
# In a file, at most: nested ones take the parser the square of their number.
BRACKETS = 1000
_EXIF_ORIENTATION, _QUARTER_TURNS = 0x0112, {5, 6, 7, 8}


def load_data_yaml(path: str | Path, split: str = "val") -> DetectionSet:
    """A split of a data.yaml with the keys path (default: its folder), train, val, names and nc.

    A split is a folder of images, a text file that lists images, or a list of these. The labels of
    images/a.jpg are in labels/a.txt, one line `class cx cy w h` per object, in fractions of the
    displayed image; an image without label file has no objects, which is noted. image_id counts
    from 1.

    Raises:
        UserError: A key is missing, an image cannot be opened, or a label is malformed; names file
            and line.
    """
    path = Path(path)
    config = _read(path)
    names = _names(config, path)
    key = _plain(config.get("path") or "", "path", path)
    root = path.parent / key
    # Ultralytics looks in the working directory.
    if not os.path.isdir(root) and os.path.isdir(key):
        root = Path(key)
    if not config.get(split):
        splits = [name for name in ("train", "val", "test") if config.get(name)]
        raise UserError(
            f"{path} has no split '{split}': choose another (found: {', '.join(splits) or 'none'})"
        )
    entries: list[Any] = [config[split]]
    if isinstance(config[split], list):
        entries = config[split]
    images: list[Path] = []
    absent: list[str] = []
    bare = 0
    for entry in entries:
        for image in _images(_plain(entry, split, path), root, path):
            if os.path.isfile(image):
                images.append(image)
                bare += not label_path(image).is_file()
            else:
                absent.append(str(image))
    if not images:
        raise UserError(
            f"{path}: the split '{split}' has no images at {root / entries[0]}: correct the path"
        )
    notes = absent_note(absent, len(images) + len(absent), root)
    if bare:
        notes.append(
            f"{bare} of {len(images)} images have no label file and are taken to show no objects"
        )
    samples = [read_sample(n, image, len(names)) for n, image in enumerate(images, 1)]
    return DetectionSet(f"{path.stem} {split}", names, samples, notes)


def _read(path: Path) -> dict[str, Any]:
    text = read_text(path)
    if sum(map(text.count, "[{")) > BRACKETS:
        raise UserError(f"{path} has more than {BRACKETS} brackets: is it a data.yaml?")
    # A number or a date that is none raises other errors than YAMLError.
    invalid = (yaml.YAMLError, RecursionError, ValueError, LookupError, TypeError, AttributeError)
    try:
        config = yaml.safe_load(text)
    except invalid as error:
        raise UserError(f"{path} is not readable yaml ({reason(error)}): correct it") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} is not a data.yaml: it needs the keys path, train, val and names")
    return config


def _names(config: dict[str, Any], path: Path) -> tuple[str, ...]:
    names = config.get("names")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise UserError(
                f"{path}: names must number the classes 0 to {len(names) - 1}: correct it"
            )
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(
            f"{path} has no class names: add names, a list or a table of number and name"
        )
    if config.get("nc", len(names)) != len(names):
        raise UserError(
            f"{path} has nc {_plain(config['nc'], 'nc', path)} and {len(names)} names: make them"
            " agree"
        )
    return tuple(_plain(name, "names", path) for name in names)


def _plain(value: Any, key: str, path: Path) -> str:
    """As text. Raises UserError for a list or table, whose text could be endless: yaml may hold
    references to itself.
    """
    if isinstance(value, list | dict | set | tuple):
        raise UserError(
            f"{path}: {key} has a list or a table where text or a number belongs: correct it"
        )
    return str(value)


def _images(key: str, root: Path, path: Path) -> list[Path]:
    """The image files of one entry of a split. Exported datasets often write ../train/images for
    train/images.
    """
    entry = root / key
    if not os.path.exists(entry):
        entry = root / key.removeprefix("../")
    if os.path.isdir(entry):
        return sorted(p for p in entry.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not os.path.isfile(entry):
        raise UserError(f"{path} names {entry}, which does not exist: correct the path")
    images: list[Path] = []
    for line in read_text(entry).splitlines():
        if line := line.strip():
            image = entry.parent / line
            if not os.path.isfile(image):
                image = root / line
            images.append(image)
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
    except ValueError:
        row = []
    if len(row) != 5:
        raise UserError(f"{where}: '{line.strip()[:60]}' is not 'class cx cy w h': correct it")
    if row[0] not in range(classes):
        raise UserError(
            f"{where}: class {line.split()[0]} is not one of 0 to {classes - 1}: correct it or the"
            " names"
        )
    if not all(0 <= v <= 1 for v in row[1:]):
        raise UserError(
            f"{where}: coordinates must be fractions of the image, 0 to 1: divide by its size"
        )
    return row


def displayed_size(image: Path) -> tuple[int, int]:
    """(width, height) in pixels as displayed (EXIF rotation applied), from the header only."""
    with open_image(image) as photo:
        width, height = photo.size
        try:
            if photo.getexif().get(_EXIF_ORIENTATION) in _QUARTER_TURNS:
                width, height = height, width
        except Exception:
            # Pillow raises whatever the damage leads to; decoders ignore it.
            pass
    return width, height
