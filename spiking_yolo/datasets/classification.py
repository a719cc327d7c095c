"""CIFAR-10, CIFAR-100 and ImageNet for classifiers, all through torchvision."""

from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR100, ImageFolder

from spiking_yolo.datasets.archive import unpack
from spiking_yolo.datasets.labelled import LabelledSet
from spiking_yolo.errors import UserError
from spiking_yolo.io.images import Picture, read_image

SPLITS = {"cifar10": ("train", "test"), "cifar100": ("train", "test"), "imagenet": ("train", "val")}


def load_classification(name: str, root: str | Path, split: str, cache: str | Path | None = None) -> LabelledSet:
    """A split of a classification dataset; name: a key of SPLITS.

    cifar10: root is a folder with {split}/CLASS/*.jpg, or a tar file of one, unpacked once into `cache`.
    cifar100: root holds cifar-100-python/. Its files are pickles: torchvision checks their published MD5 sums first,
    and files that differ are refused unread.
    imagenet: root/{split}/WNID/*.JPEG; the sorted WNIDs are the usual class order.
    Raises UserError for an unknown name or split, and for data that is missing, empty or damaged.
    """
    if name not in SPLITS:
        raise UserError(f"unknown dataset '{name}': choose one of {', '.join(SPLITS)}")
    if split not in SPLITS[name]:
        raise UserError(f"{name} has no split '{split}': choose one of {', '.join(SPLITS[name])}")
    root = Path(root)
    if not root.exists():
        raise UserError(f"{root} does not exist: pass the folder or archive that holds {name}")
    title = f"{root.name.split('.')[0]} {split}"
    if name == "cifar100":
        try:
            return _labelled(title, CIFAR100(str(root), train=split == "train", download=False))
        except RuntimeError:
            raise UserError(
                f"{root / 'cifar-100-python'} is missing or its MD5 sums are not the published ones: "
                "unpack cifar-100-python.tar.gz there"
            ) from None
    if root.is_file():
        if cache is None:
            raise UserError(f"{root} is an archive: say where to unpack it (cache) or unpack it")
        root = unpack(root, Path(cache))
    folder = root / split
    try:
        return _labelled(title, ImageFolder(str(folder)))
    except FileNotFoundError:
        raise UserError(f"{folder} has no folders of images: {name} needs {split}/CLASS/ there") from None


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
