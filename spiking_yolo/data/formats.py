"""The formats of datasets for detection, in one table that every command reads; folders of classes.

A new format is a module with a loader, and an entry in FORMATS.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spiking_yolo.data.annotations import (
    load_coco,
    load_coco_json,
    load_data_yaml,
    load_voc,
    voc_years,
)
from spiking_yolo.data.datasets import DetectionSet, LabelledSet, load_folders
from spiking_yolo.data.sources import expand, is_address, is_stream
from spiking_yolo.errors import UserError


@dataclass(frozen=True)
class Format:
    """A format of datasets for detection.

    Attributes:
        name: What messages call it.
        recognises: Whether a dataset of this format is at a path.
        load: `load(path, split)` reads a split.
        train: The split to train on by default, "" where there are no splits.
        val: The split to validate and report on by default.
        option: The keyword that `load` takes besides, "year" or "images", if any.
    """

    name: str
    recognises: Callable[[Path], Any]
    load: Callable[..., DetectionSet]
    train: str = ""
    val: str = ""
    option: str = ""


def is_coco(folder: Path) -> bool:
    """Whether it is a COCO folder."""
    return (folder / "annotations").is_dir()


# The splits to train on and to validate on of most formats.
SPLITS = ("train", "val")
# The first that recognises a path reads it.
FORMATS: tuple[Format, ...] = (
    Format(
        "a COCO annotation file", lambda p: p.suffix == ".json", load_coco_json, option="images"
    ),
    Format("a data.yaml", lambda p: p.suffix in (".yaml", ".yml"), load_data_yaml, *SPLITS),
    Format("a VOCdevkit with VOC2012 or another year", voc_years, load_voc, *SPLITS, option="year"),
    Format("a COCO folder with annotations/", is_coco, load_coco, "train2017", "val2017"),
)


def format_of(data: Path) -> Format | None:
    """The format of the dataset at a path, None if there is none."""
    return next((entry for entry in FORMATS if entry.recognises(data)), None)


def open_detection(
    data: Path, split: str | None = None, training: bool = False, **options: Any
) -> DetectionSet:
    """Read a split of a detection dataset in any of FORMATS.

    Args:
        data: Path of the dataset.
        split: Its name; by default the one to report on, such as val or val2017.
        training: Take the split to train on by default.
        options: images, the folder of the photographs of an annotation file, by default its own;
            or year, of a VOCdevkit, by default its latest. None stands for the default.

    Raises:
        UserError: It is of no known format, its files do not fit, or an option belongs to another
            format.
    """
    entry = format_of(data)
    if entry is None:
        if not data.exists():
            raise UserError(f"{data} does not exist; check the path")
        names = [entry.name for entry in FORMATS]
        plain = "a folder of photographs, or a video"
        raise UserError(f"{data} is no detection dataset: pass one of {', '.join(names)}, {plain}")
    if split and not entry.val:
        raise UserError(f"{data} is {entry.name}, which has no splits: leave --split out")
    given = {name: value for name, value in options.items() if value is not None}
    if given.keys() - {entry.option}:
        raise UserError(f"{data} is {entry.name}: leave out --{' and --'.join(given)}")
    default = entry.train if training else entry.val
    return entry.load(data, split or default, **given)


def open_classification(data: Path, split: str | None = None) -> LabelledSet:
    """Read a split of a classification dataset: folders SPLIT/CLASS/ of images.

    Args:
        data: The folder.
        split: Its name; by default test, or val where the folder has only that.

    Raises:
        UserError: There is no such dataset or split.
    """
    if not data.is_dir():
        raise UserError(f"{data} is no folder with SPLIT/CLASS/ inside: give one, unpacked")
    dataset = load_folders(data, split or "")
    return replace(dataset, name=f"{data.name} {dataset.name}")


def open_photographs(
    data: Sequence[str], split: str | None = None, training: bool = False
) -> list[str]:
    """Image files: those of a dataset's split, or what the sources name.

    Args:
        data: One dataset for detection, or images, folders, globs and lists.
        split: Split of a dataset, by default the one to validate on.
        training: Take the split to train on by default.

    Raises:
        UserError: There are no images, or a split is given of something that has none.
    """
    path = Path(data[0])
    entry = format_of(path) if len(data) == 1 else None
    if entry is not None:
        dataset = open_detection(path, split, training=training)
        return [str(sample.path) for sample in dataset.samples]
    if split is not None:
        raise UserError("--split belongs to a dataset, such as a COCO folder: leave it out")
    sources = expand(data)
    if not any(os.path.exists(source) or is_address(source) for source in sources):
        raise UserError(f"{sources[0]} does not exist: check the path")
    images = [source for source in sources if not is_stream(source)]
    if not images:
        raise UserError("there is no image: give photographs or a folder of them, not videos")
    return images
