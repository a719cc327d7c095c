"""Random changes of training images by albumentations, with their boxes."""

import os
import random
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from spiking_yolo.errors import require

# Otherwise albumentations asks the network for newer versions when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
A: Any = require("albumentations", "train")

# An image with what is annotated: "image" uint8 [H, W, 3], "bboxes" [n, 4] in pixels, "labels" [n].
Annotated = dict[str, Any]
# Share of a detector's images that are put together of four, which makes small objects common.
MOSAIC = 0.3
# The smallest share of a photograph's area that a crop keeps, and the shapes of crops.
CROP, SHAPES = 0.3, (0.7, 1.7)
# A box is dropped of which a crop leaves less than this share, or a side of fewer pixels.
VISIBLE, SMALLEST_BOX = 0.2, 4
# Pixels by which a classifier's images are shifted, at most.
SHIFT = 4


class DetectorAugmentation:
    """Crops or mosaics of four photographs, mirrored, in other colours, some blurred or compressed.

    Crops have any shape and are stretched to the network's input, as whole photographs are in an
    evaluation; half of them keep every box.

    Args:
        height: Height of the network's input in pixels.
        width: Its width.

    Example:
        >>> augment = DetectorAugmentation(320, 320)
        >>> item = {"image": image, "bboxes": [[0, 0, 99, 99]], "labels": [3]}
        >>> augment(item, lambda: [item] * 3, np.random.default_rng(0))["image"].shape
        (320, 320, 3)
    """

    def __init__(self, height: int, width: int):
        area = {"interpolation": cv2.INTER_AREA}
        crop = A.OneOf(
            [
                A.RandomResizedCrop((height, width), (CROP, 1), SHAPES, **area, p=1),
                A.RandomSizedBBoxSafeCrop(height, width, **area, p=1),
            ],
            p=1,
        )
        four = A.Mosaic(
            target_size=(height, width),
            cell_shape=(-(-height // 2), -(-width // 2)),
            metadata_key="others",
            **area,
            p=1,
        )
        self.crop, self.mosaic = (_with_boxes([one, *_looks()]) for one in (crop, four))

    def __call__(
        self, item: Annotated, others: Callable[[], Sequence[Annotated]], rng: np.random.Generator
    ) -> Annotated:
        """The changed image and its boxes.

        Args:
            item: A photograph.
            others: Reads three more, which a mosaic needs.
            rng: Decides all that is random.
        """
        if rng.random() < MOSAIC:
            return _apply(self.mosaic, {**item, "others": list(others())}, rng)
        return _apply(self.crop, item, rng)


class ClassifierAugmentation:
    """Images shifted by some pixels over a reflected border, half of them mirrored.

    Args:
        height: Height of the images in pixels.
        width: Their width.
    """

    def __init__(self, height: int, width: int):
        sides = {"min_height": height + 2 * SHIFT, "min_width": width + 2 * SHIFT}
        border = A.PadIfNeeded(**sides, border_mode=cv2.BORDER_REFLECT_101, p=1)
        self.pipeline = A.Compose([border, A.RandomCrop(height, width), A.HorizontalFlip()])

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The changed image, uint8 [height, width, 3]; rng decides all that is random."""
        return _apply(self.pipeline, {"image": image}, rng)["image"]


def _looks() -> list[Any]:
    """What changes a photograph but not its boxes, but for the mirror."""
    return [
        A.HorizontalFlip(p=0.5),
        A.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.5, 1.5), (-0.02, 0.02), p=1),
        A.GaussianBlur((3, 5), p=0.1),
        A.ImageCompression(quality_range=(40, 90), p=0.1),
    ]


def _with_boxes(transforms: list[Any]) -> Any:
    least = {"min_visibility": VISIBLE, "min_width": SMALLEST_BOX, "min_height": SMALLEST_BOX}
    valid = {"clip": True, "filter_invalid_bboxes": True}
    boxes = A.BboxParams("pascal_voc", label_fields=["labels"], **least, **valid)
    return A.Compose(transforms, bbox_params=boxes)


def _apply(pipeline: Any, item: Annotated, rng: np.random.Generator) -> Annotated:
    # One source for all transforms: those of a seed each would decide alike.
    pipeline.set_random_state(rng, random.Random(int(rng.integers(2**63))))
    return pipeline(**item)
