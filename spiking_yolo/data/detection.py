"""Some of many images. That of --limit is a seeded choice, made in the same way wherever images are
limited.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, TypeVar

import numpy as np

from spiking_yolo.data.images import open_image, read_image
from spiking_yolo.errors import UserError
from spiking_yolo.io.names import label

T = TypeVar("T")


def draw(items: Sequence[T], n: int, seed: int = 0) -> list[T]:
    """n of the items, drawn without replacement and kept in their order; all of them when there are
    no more.
    """
    chosen = np.random.default_rng(seed).choice(len(items), min(n, len(items)), replace=False)
    return [items[i] for i in np.sort(chosen)]


def spread(items: Sequence[T], n: int) -> Sequence[T]:
    """n of the items, at equal distances."""
    return items[:: max(1, len(items) // n)][:n]


@dataclass(frozen=True, eq=False)
class Sample:
    """One photograph and its objects.

    path: the image file. width, height: its size in pixels as annotated. boxes: float64 [n, 4],
    corners x1, y1, x2, y2 in pixels of the image, zero-based. labels: int64 [n], category ids:
    values of `DetectionSet.category_ids`. ignored: bool [n], VOC's difficult objects and COCO's
    crowds, which are neither trained on nor scored. area: float64 [n], square pixels.
    """

    image_id: int | str
    path: Path
    width: int
    height: int
    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray
    area: np.ndarray

    @classmethod
    def of(
        cls,
        image_id: int | str,
        path: Path,
        size: tuple[int, int],
        boxes: object,
        labels: object,
        ignored: object = False,
        area: object = None,
    ) -> Self:
        """A sample from lists. size: (width, height). The area is by default that of the box."""
        corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        n = len(corners)
        sizes = (
            (corners[:, 2:] - corners[:, :2]).prod(1)
            if area is None
            else np.asarray(area, dtype=np.float64)
        )
        ids = np.asarray(labels, dtype=np.int64).reshape(n)
        return cls(image_id, path, *size, corners, ids, np.full(n, ignored, bool), sizes)

    def image(self) -> np.ndarray:
        """The photograph that the boxes are of, uint8 [height, width, 3] RGB: as its EXIF tag turns
        it, or as stored.

        Raises UserError when neither has the size of the annotation.
        """
        image = read_image(self.path)
        if image.shape[:2] == (self.width, self.height) != (self.height, self.width):
            with open_image(self.path) as stored:
                image = read_image(np.asarray(stored.convert("RGB")))
        if image.shape[:2] != (self.height, self.width):
            height, width = image.shape[:2]
            raise UserError(
                f"{self.path} has {width}x{height} pixels and its annotation says"
                f" {self.width}x{self.height}: annotate the image as it is"
            )
        return image


@dataclass(frozen=True)
class DetectionSet:
    """A split of a dataset.

    classes: the names. category_ids: the label of each class, in the same order; empty means 0, 1,
    2, ... notes: one line for each thing that was found odd and kept, or left out, while reading.
    """

    name: str
    classes: tuple[str, ...]
    samples: list[Sample]
    notes: list[str]
    category_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", label(self.name))
        object.__setattr__(self, "classes", tuple(map(label, self.classes)))
        if not self.category_ids:
            object.__setattr__(self, "category_ids", tuple(range(len(self.classes))))

    def __len__(self) -> int:
        return len(self.samples)

    def subset(self, n: int, seed: int = 0) -> Self:
        """n images drawn without replacement, in the dataset's order; all when it has no more."""
        return replace(self, samples=draw(self.samples, n, seed))

    def lines(self) -> Iterator[str]:
        """What identifies each image and its objects."""
        return (
            f"{s.image_id}|{s.path.name}|{s.width}|{s.height}|{s.labels.tolist()}|{s.boxes.tolist()}"
            for s in self.samples
        )

    def indexed(self) -> Self:
        """The same set with labels that index `classes`, as training and the VOC scorer want
        them.
        """
        order = np.argsort(self.category_ids)
        ids = np.array(self.category_ids, dtype=np.int64)[order]
        samples = [replace(s, labels=order[np.searchsorted(ids, s.labels)]) for s in self.samples]
        return replace(self, samples=samples, category_ids=tuple(range(len(self.classes))))


def present(names: Sequence[str], folder: Path, listing: Path) -> tuple[set[str], list[str]]:
    """Which of the files that `listing` names are in the folder, and a note about the others.

    Raises UserError when none is there.
    """
    there = set(os.listdir(folder)) if folder.is_dir() else set()
    absent = [
        name
        for name in names
        if name not in there and not ("/" in name and os.path.isfile(folder / name))
    ]
    if len(absent) == len(names):
        raise UserError(
            f"{folder} has none of the {len(names)} images of {listing.name}: put them there"
        )
    return set(names).difference(absent), absent_note(absent, len(names), folder)


def absent_note(absent: list[str], listed: int, where: Path) -> list[str]:
    """The note about images that are listed and not there; no note when there are none."""
    if not absent:
        return []
    return [
        f"{len(absent)} of {listed} listed images are absent from {where} and left out, e.g."
        f" {absent[0]}"
    ]


def outside_notes(samples: list[Sample]) -> list[str]:
    """A note for each image with a box more than a pixel beyond its edge; the boxes stay as
    annotated.
    """
    beyond = [
        s
        for s in samples
        if (s.boxes[:, :2] < -1).any() or (s.boxes[:, 2:] > (s.width + 1, s.height + 1)).any()
    ]
    return [f"{s.path.name}: a box leaves the image; kept as annotated" for s in beyond]
