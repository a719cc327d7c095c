"""Pictures without labels, cropped, mirrored and put together at random."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from spiking_yolo.data.images import InputFormat, Picture, preprocess, read_image
from spiking_yolo.errors import UserError

# Smallest sides of a crop, of the picture's, for detectors and classifiers.
LEAST = {"detect": 0.5, "classify": 0.8}
# How often a detector's picture is cropped, or made of four: small objects become common.
CROPPED, MOSAIC = 0.6, 0.5
# Unreadable pictures in a row after which there is no point in drawing another.
PATIENCE = 32


def random_crop(image: np.ndarray, rng: np.random.Generator, least: float) -> np.ndarray:
    """A part of an image [H, W, 3] whose sides are between `least` and 1 of the image's."""
    share = rng.uniform(least, 1)
    height, width = (max(1, round(side * share)) for side in image.shape[:2])
    top = rng.integers(image.shape[0] - height + 1)
    left = rng.integers(image.shape[1] - width + 1)
    return image[top : top + height, left : left + width]


def mirrored(image: np.ndarray) -> np.ndarray:
    """An image [H, W, 3] with left and right exchanged."""
    return np.ascontiguousarray(image[:, ::-1])


def mosaic(images: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Four images [H, W, 3] side by side in two rows, each stretched to a quarter of the result."""
    size = (width // 2, height // 2)
    tiles = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images]
    rows = [np.concatenate(tiles[k : k + 2], 1) for k in (0, 2)]
    return np.concatenate(rows, 0)


class RandomPictures:
    """Batches of random pictures. A batch follows from the seed and its number alone.

    Each picture comes from a folder drawn alike, whatever their sizes.

    Args:
        folders: Of the pictures.
        spec: Input of the network, and its task.
        batch: Pictures of a batch; may change.
        seed: Of all choices.

    Attributes:
        unreadable: Name -> what is wrong with it; other pictures take their places.

    Example:
        >>> pictures = RandomPictures([[Picture.file("a.jpg"), Picture.file("b.jpg")]], spec, 4)
        >>> pictures(0).shape
        torch.Size([4, 3, 416, 416])
    """

    def __init__(
        self,
        folders: Sequence[Sequence[Picture]],
        spec: InputFormat,
        batch: int,
        seed: int = 0,
        task: str = "detect",
    ):
        self.folders = folders
        self.spec = spec
        self.batch = batch
        self.seed = seed
        self.task = task
        self.unreadable: dict[str, str] = {}

    def __call__(self, number: int) -> Tensor:
        """Batch `number` as the network's input, [N, 3, H, W]."""
        images: list[Tensor] = []
        for k in range(self.batch):
            rng = np.random.default_rng((self.seed, number, k))
            images.append(preprocess(self.picture(rng), self.spec)[0])
        return torch.stack(images)

    def picture(self, rng: np.random.Generator) -> np.ndarray:
        """A random picture, [H, W, 3]."""
        image = self._picture(rng)
        return mirrored(image) if rng.random() < 0.5 else image

    def _picture(self, rng: np.random.Generator) -> np.ndarray:
        least = LEAST[self.task]
        if self.task == "detect" and rng.random() < MOSAIC:
            tiles = [random_crop(self._read(rng), rng, least) for _ in range(4)]
            return mosaic(tiles, self.spec.height, self.spec.width)
        image = self._read(rng)
        return random_crop(image, rng, least) if rng.random() < CROPPED else image

    def _read(self, rng: np.random.Generator) -> np.ndarray:
        """A random picture that can be read."""
        for _ in range(PATIENCE):
            folder = self.folders[int(rng.integers(len(self.folders)))]
            picture = folder[int(rng.integers(len(folder)))]
            if picture.name in self.unreadable:
                continue
            try:
                return read_image(picture.source)
            except UserError as error:
                self.unreadable[picture.name] = str(error)
        raise UserError(f"{PATIENCE} pictures in a row cannot be read: give other --images")
