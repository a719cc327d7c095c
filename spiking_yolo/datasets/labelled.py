"""The record that every classification dataset is read into: images with one label each."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from spiking_yolo.datasets.draw import draw
from spiking_yolo.io.images import Picture
from spiking_yolo.io.names import label


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """A split of a dataset.

    classes: the names. pictures: in the dataset's order; files are read when they are used. labels: int64 [n], indices
    of `classes`. notes: what was found odd while reading, one line each.
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
        return replace(self, pictures=[self.pictures[i] for i in chosen], labels=self.labels[chosen])

    def lines(self) -> Iterator[str]:
        """What identifies each image."""
        return (f"{picture.name}|{label}" for picture, label in zip(self.pictures, self.labels, strict=True))
