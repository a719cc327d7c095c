"""The records that every dataset is read into: photographs with boxes and labels, or images with
one label each.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from torchvision.datasets import ImageFolder

from spiking_yolo.data.images import Picture, open_image, read_image
from spiking_yolo.errors import UserError
from spiking_yolo.io.text import label

T = TypeVar("T")


def draw(items: Sequence[T], n: int | None, seed: int = 0) -> list[T]:
    """A seeded choice of n items in their order; all of them for None, or if there are no more.

    `--limit` chooses in this way for every kind of dataset.
    """
    count = len(items) if n is None else min(n, len(items))
    chosen = np.random.default_rng(seed).choice(len(items), count, replace=False)
    return [items[i] for i in np.sort(chosen)]


def spread(items: Sequence[T], n: int) -> Sequence[T]:
    """n of the items, at equal distances."""
    return [items[k * len(items) // n] for k in range(n)] if n < len(items) else items


def spread_first(items: Sequence[T], n: int) -> list[T]:
    """Order items so that n at equal distances come before the others."""
    order = range(len(items))
    return [items[k] for k in dict.fromkeys([*spread(order, n), *order])]


@dataclass(frozen=True, eq=False)
class Sample:
    """One photograph and its objects.

    Attributes:
        image_id: Its id in the dataset.
        path: The image file.
        width: Pixels, as annotated.
        height: Pixels, as annotated.
        boxes: float64 [n, 4], corners x1, y1, x2, y2 in pixels, zero-based.
        labels: int64 [n], values of `DetectionSet.category_ids`.
        ignored: bool [n], VOC's difficult objects and COCO's crowds, which are neither trained on
            nor scored.
        area: float64 [n], square pixels.
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
        if area is None:
            area = (corners[:, 2:] - corners[:, :2]).prod(1)
        sizes = np.asarray(area, dtype=np.float64)
        ids = np.asarray(labels, dtype=np.int64).reshape(n)
        return cls(image_id, path, *size, corners, ids, np.full(n, ignored, bool), sizes)

    def image(self) -> np.ndarray:
        """The photograph, uint8 [height, width, 3] RGB, turned by its EXIF tag or as stored.

        Raises:
            UserError: Neither has the size of the annotation.
        """
        image = read_image(self.path)
        if image.shape[:2] == (self.width, self.height) != (self.height, self.width):
            with open_image(self.path) as stored:
                image = read_image(np.asarray(stored.convert("RGB")))
        if image.shape[:2] != (self.height, self.width):
            height, width = image.shape[:2]
            said = f"{width}x{height} pixels and its annotation says {self.width}x{self.height}"
            raise UserError(f"{self.path} has {said}: annotate the image as it is")
        return image


class CocoTruth(NamedTuple):
    """A dataset in COCO's format, for pycocotools.

    Attributes:
        annotations: The content of an annotation file.
        image_ids: Image id of each sample.
        category_ids: Category id of each class.
    """

    annotations: dict[str, Any]
    image_ids: list[int]
    category_ids: tuple[int, ...]


@dataclass(frozen=True)
class DetectionSet:
    """A split of a detection dataset.

    Attributes:
        name: For titles and records.
        classes: Names of the classes.
        samples: The photographs.
        notes: One line for each oddity that was kept or left out while reading.
        category_ids: The label of each class, by default 0, 1, 2, ...
        has_ids: Whether images and classes have ids that users know, as in an annotation file.
        metric: How the format is scored, "coco" or "voc"; what `--metric auto` stands for.
    """

    name: str
    classes: tuple[str, ...]
    samples: list[Sample]
    notes: list[str]
    category_ids: tuple[int, ...] = ()
    has_ids: bool = False
    metric: str = "coco"

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
        """Yield a line that identifies each image and its objects."""
        for s in self.samples:
            size = f"{s.width}|{s.height}"
            yield f"{s.image_id}|{s.path.name}|{size}|{s.labels.tolist()}|{s.boxes.tolist()}"

    def indexed(self) -> Self:
        """A copy of the set with labels that are indices of `classes`."""
        order = np.argsort(self.category_ids)
        ids = np.array(self.category_ids, dtype=np.int64)[order]
        samples = [replace(s, labels=order[np.searchsorted(ids, s.labels)]) for s in self.samples]
        return replace(self, samples=samples, category_ids=tuple(range(len(self.classes))))

    def as_coco(self) -> CocoTruth:
        """The set in COCO's format; images and categories without ids are numbered from 1.

        Ignored objects become crowds: detections of them count neither way.
        """
        image_ids = list(range(1, len(self) + 1))
        category_ids = tuple(range(1, len(self.classes) + 1))
        if self.has_ids:
            image_ids = [int(sample.image_id) for sample in self.samples]
            category_ids = self.category_ids
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image_id, s in zip(image_ids, self.indexed().samples, strict=True):
            size = {"width": s.width, "height": s.height}
            images.append({"id": image_id, "file_name": s.path.name, **size})
            for k, (x1, y1, x2, y2) in enumerate(s.boxes.tolist()):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": category_ids[s.labels[k]],
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": float(s.area[k]),
                        "iscrowd": int(s.ignored[k]),
                    }
                )
        categories: list[dict[str, Any]] = []
        for number, name in zip(category_ids, self.classes, strict=True):
            categories.append({"id": number, "name": name})
        content = {"info": {}, "images": images, "annotations": annotations}
        return CocoTruth({**content, "categories": categories}, image_ids, category_ids)


def present(names: Sequence[str], folder: Path, listing: Path) -> tuple[set[str], list[str]]:
    """Find the files of a listing that are in the folder, and make a note about the others.

    Raises:
        UserError: None of them is there.
    """
    there = {name for name in names if os.path.isfile(folder / name)}
    absent = [name for name in names if name not in there]
    if not there:
        raise UserError(f"{folder} has no image that {listing.name} lists: put them there")
    if not absent:
        return there, []
    share = f"{len(absent)} of {len(names)} listed images"
    return there, [f"{share} are absent from {folder} and left out, e.g. {absent[0]}"]


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """A split of a classification dataset.

    Attributes:
        name: For titles and records.
        classes: Names of the classes.
        pictures: The images, in the dataset's order; files are read on use.
        labels: int64 [n], indices of `classes`.
        notes: One line for each oddity in the files.
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
        pictures = [self.pictures[i] for i in chosen]
        return replace(self, pictures=pictures, labels=self.labels[chosen])

    def lines(self) -> Iterator[str]:
        """Yield a line that identifies each image."""
        for picture, index in zip(self.pictures, self.labels, strict=True):
            yield f"{picture.name}|{index}"


def load_folders(root: Path, split: str = "") -> LabelledSet:
    """Images in folders SPLIT/CLASS/; the classes are in alphabetical order.

    Args:
        root: The dataset's folder.
        split: Its name; by default test, or val if there is no test.

    Raises:
        UserError: There are no folders of images.
    """
    if not split:
        split = "test"
        if (root / "val").is_dir() and not (root / "test").is_dir():
            split = "val"
    folder = root / split
    try:
        dataset = ImageFolder(str(folder), allow_empty=True)
    except OSError:
        dataset = None
    if dataset is None or not dataset.samples:
        raise UserError(f"{folder} has no folders of images: make one per class")
    pictures: list[Picture] = []
    for path, _ in dataset.samples:
        pictures.append(Picture(Path(path).relative_to(folder).as_posix(), path))
    return LabelledSet(split, tuple(dataset.classes), pictures, np.array(dataset.targets, np.int64))
