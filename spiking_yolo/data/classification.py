"""The record that every classification dataset is read into: images with one label each."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from torchvision.datasets import ImageFolder

from spiking_yolo.data.detection import draw
from spiking_yolo.data.images import Picture
from spiking_yolo.errors import UserError
from spiking_yolo.io.names import label


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """A split of a classification dataset.

    Attributes:
        name: For titles and records.
        classes: Names of the classes.
        pictures: In the dataset's order; files are read on use.
        labels: int64 [n], indices of `classes`.
        notes: One line for each oddity in the files.
        metric: How it is scored.
    """

    metric: ClassVar[str] = "accuracy"

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
        pictures: list[Picture] = []
        for i in chosen:
            pictures.append(self.pictures[i])
        return replace(self, pictures=pictures, labels=self.labels[chosen])

    def lines(self) -> Iterator[str]:
        """What identifies each image."""
        for picture, index in zip(self.pictures, self.labels, strict=True):
            yield f"{picture.name}|{index}"


def load_folders(root: Path, split: str = "") -> LabelledSet:
    """Images in folders SPLIT/CLASS/; the classes are in alphabetical order.

    Args:
        root: The dataset's folder.
        split: By default test, or val if there is no test.

    Raises:
        UserError: There are no folders of images.
    """
    if not split:
        split = "test"
        if (root / "val").is_dir() and not (root / "test").is_dir():
            split = "val"
    folder = root / split
    try:
        dataset = ImageFolder(str(folder))
    except FileNotFoundError:
        raise UserError(
            f"{folder} has no folders of images: each class needs {folder.name}/CLASS/ there"
        ) from None
    pictures: list[Picture] = []
    for path, _ in dataset.samples:
        pictures.append(Picture(Path(path).relative_to(folder).as_posix(), path))
    labels = np.array(dataset.targets, np.int64)
    return LabelledSet(split, tuple(dataset.classes), pictures, labels)
