"""Augmentation: photographs with boxes through albumentations, batches of small images as
tensors.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.errors import require
from spiking_yolo.io.names import Size


@dataclass(frozen=True)
class Photo:
    """image: uint8 [H, W, 3] RGB. boxes: float [n, 4] xyxy in pixels. labels: int [n]."""

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        return {"image": self.image, "bboxes": self.boxes, "labels": self.labels}


class DetectionAugment:
    """Photos to augmented photos of one size.

    size: (height, width), pixels. mosaic: probability that four photos are tiled into one. scale:
    smallest share of the area that a crop keeps. A crop has the shape of some photograph, and is
    stretched to `size` as whole photographs are in an evaluation. A box that loses more than 70 %
    of its area is dropped.
    """

    def __init__(self, size: Size, mosaic: float = 0.0, scale: float = 0.3) -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        A = require("albumentations", "train")
        boxes = A.BboxParams(
            "pascal_voc",
            label_fields=["labels"],
            min_visibility=0.3,
            clip=True,
            filter_invalid_bboxes=True,
        )
        self.mosaic = mosaic
        tiles = A.Mosaic(grid_yx=(2, 2), target_size=size, cell_shape=size, p=1.0)
        single = [
            A.HorizontalFlip(p=0.5),
            A.RandomResizedCrop(size, scale=(scale, 1.0), ratio=(0.7, 1.7)),
        ]
        colour = [A.ColorJitter(0.4, 0.4, 0.5, 0.02, p=0.8), A.ToGray(p=0.03)]
        self.tiles = A.Compose([tiles, *colour], bbox_params=boxes)
        self.crop = A.Compose([*single, *colour], bbox_params=boxes)
        self.flip = A.Compose([single[0]], bbox_params=boxes)

    def __call__(self, photos: Sequence[Photo], rng: np.random.Generator) -> Photo:
        """photos: the one to augment, then three partners for the mosaic (or none)."""
        seed = int(rng.integers(2**31))
        if len(photos) == 4 and rng.random() < self.mosaic:
            self.flip.set_random_seed(seed)
            parts = [self.flip(**p.as_dict()) for p in photos]
            self.tiles.set_random_seed(seed)
            out = self.tiles(**parts[0], mosaic_metadata=parts[1:])
        else:
            self.crop.set_random_seed(seed)
            out = self.crop(**photos[0].as_dict())
        return Photo(
            out["image"], np.reshape(out["bboxes"], (-1, 4)), np.asarray(out["labels"], int)
        )


def crop_and_flip(images: Tensor, rng: np.random.Generator, pad: int = 4) -> Tensor:
    """Each image [N, C, H, W] shifted by up to `pad` pixels over a reflected border and mirrored
    half of the time.
    """
    n, _, h, w = images.shape
    padded = F.pad(images, (pad,) * 4, mode="reflect")
    dy, dx = (torch.from_numpy(rng.integers(0, 2 * pad + 1, n)) for _ in range(2))
    mirrored = torch.from_numpy(rng.random(n) < 0.5)
    columns = dx[:, None] + torch.arange(w)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    rows = dy[:, None] + torch.arange(h)
    index = torch.arange(n)[:, None, None]
    return padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )


def cutout(images: Tensor, rng: np.random.Generator, side: int = 8) -> Tensor:
    """A square of `side` pixels of each image [N, C, H, W] set to zero, cut off at the border."""
    n, _, h, w = images.shape
    y, x = (torch.from_numpy(rng.integers(0, s, n)) for s in (h, w))
    rows = (torch.arange(h) - y[:, None] + side // 2).div(side, rounding_mode="floor") == 0
    columns = (torch.arange(w) - x[:, None] + side // 2).div(side, rounding_mode="floor") == 0
    return images.masked_fill((rows[:, None, :, None] & columns[:, None, None, :]), 0)
