"""The record that every classification dataset is read into: images with one label each."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
from torchvision.datasets import CIFAR100, ImageFolder

from spiking_yolo.data.detection import draw
from spiking_yolo.data.images import Picture, read_image
from spiking_yolo.errors import UserError
from spiking_yolo.io.names import label


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """A split of a dataset.

    classes: the names. pictures: in the dataset's order; files are read when they are used. labels:
    int64 [n], indices of `classes`. notes: what was found odd while reading, one line each.
    """

    name: str
    classes: tuple[str, ...]
    pictures: list[Picture]
    labels: np.ndarray
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", label(self.name))
        object.__setattr__(self, "classes", tuple(map(label, self.classes)))

    def __len__(self) -> int:
        return len(self.pictures)

    def subset(self, n: int, seed: int = 0) -> Self:
        """n images drawn without replacement, in the dataset's order; all when it has no more."""
        chosen = draw(range(len(self)), n, seed)
        return replace(
            self, pictures=[self.pictures[i] for i in chosen], labels=self.labels[chosen]
        )

    def lines(self) -> Iterator[str]:
        """What identifies each image."""
        return (
            f"{picture.name}|{label}"
            for picture, label in zip(self.pictures, self.labels, strict=True)
        )


def load_cifar100(root: Path, split: str) -> LabelledSet:
    """CIFAR-100; root holds cifar-100-python/, split: train or test.

    Its files are pickles: torchvision checks their published MD5 sums first. Raises UserError for
    files that differ, unread, and for another split.
    """
    if split not in ("train", "test"):
        raise UserError(f"CIFAR-100 has no split '{split}': choose train or test")
    try:
        return _labelled(
            f"{root.name} {split}", CIFAR100(str(root), train=split == "train", download=False)
        )
    except RuntimeError:
        raise UserError(
            f"a file of {root / CIFAR100.base_folder} is missing or its MD5 sum is not the"
            " published one: unpack cifar-100-python.tar.gz there"
        ) from None


def load_folders(name: str, folder: Path) -> LabelledSet:
    """Images in folders of their classes, which are in alphabetical order. Raises UserError where
    there are none.
    """
    try:
        return _labelled(name, ImageFolder(str(folder)))
    except FileNotFoundError:
        raise UserError(
            f"{folder} has no folders of images: each class needs {folder.name}/CLASS/ there"
        ) from None


def _labelled(name: str, dataset: CIFAR100 | ImageFolder) -> LabelledSet:
    if isinstance(dataset, CIFAR100):
        pictures = [Picture(f"{i:05d}", image) for i, image in enumerate(dataset.data)]
        labels = dataset.targets
    else:
        paths, labels = zip(*dataset.samples, strict=True)
        pictures = [
            Picture(Path(path).relative_to(dataset.root).as_posix(), path) for path in paths
        ]
    return LabelledSet(name, tuple(dataset.classes), pictures, np.array(labels, np.int64))


def to_arrays(dataset: LabelledSet) -> tuple[np.ndarray, np.ndarray]:
    """All images and labels: uint8 [n, H, W, 3] RGB and int64 [n]. Raises UserError when sizes
    differ.
    """
    images = [read_image(picture.source) for picture in dataset.pictures]
    if len({image.shape for image in images}) != 1:
        raise UserError(
            "the images differ in size: only sets of one size, such as CIFAR, fit in one array"
        )
    return np.stack(images), dataset.labels
