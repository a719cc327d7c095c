"""CIFAR-10, CIFAR-100 and ImageNet for classifiers, all through torchvision."""

from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR100, ImageFolder

from spiking_yolo.datasets.labelled import LabelledSet
from spiking_yolo.errors import UserError
from spiking_yolo.io.images import Picture, read_image


def load_cifar100(root: Path, split: str) -> LabelledSet:
    """CIFAR-100; root holds cifar-100-python/, split: train or test.

    Its files are pickles: torchvision checks their published MD5 sums first. Raises UserError for files that differ,
    unread, and for another split.
    """
    if split not in ("train", "test"):
        raise UserError(f"CIFAR-100 has no split '{split}': choose train or test")
    try:
        return _labelled(f"{root.name} {split}", CIFAR100(str(root), train=split == "train", download=False))
    except RuntimeError:
        raise UserError(
            f"a file of {root / CIFAR100.base_folder} is missing or its MD5 sum is not the published one: "
            "unpack cifar-100-python.tar.gz there"
        ) from None


def load_folders(name: str, folder: Path) -> LabelledSet:
    """Images in folders of their classes, which are in alphabetical order. Raises UserError where there are none."""
    try:
        return _labelled(name, ImageFolder(str(folder)))
    except FileNotFoundError:
        raise UserError(f"{folder} has no folders of images: each class needs {folder.name}/CLASS/ there") from None


def _labelled(name: str, dataset: CIFAR100 | ImageFolder) -> LabelledSet:
    if isinstance(dataset, CIFAR100):
        pictures = [Picture(f"{i:05d}", image) for i, image in enumerate(dataset.data)]
        labels = dataset.targets
    else:
        paths, labels = zip(*dataset.samples, strict=True)
        pictures = [Picture(Path(path).relative_to(dataset.root).as_posix(), path) for path in paths]
    return LabelledSet(name, tuple(dataset.classes), pictures, np.array(labels, np.int64))


def to_arrays(dataset: LabelledSet) -> tuple[np.ndarray, np.ndarray]:
    """All images and labels: uint8 [n, H, W, 3] RGB and int64 [n]. Raises UserError when sizes differ."""
    images = [read_image(picture.source) for picture in dataset.pictures]
    if len({image.shape for image in images}) != 1:
        raise UserError("the images differ in size: only sets of one size, such as CIFAR, fit in one array")
    return np.stack(images), dataset.labels
