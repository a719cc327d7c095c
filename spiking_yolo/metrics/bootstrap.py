"""Bootstrap confidence intervals over images: how much a score varies with the choice of photographs.

n images are drawn with replacement from n (Efron 1979); the interval holds the middle 95 % of the resampled scores.
Drawing an image m times gives its detections and objects the weight m. Matching happens within an image, so nothing
is matched or sorted again. A draw leaves classes without objects out of its mean, so with few images of rare classes
the interval is off-centre.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A score over all images, and the 2.5th and 97.5th percentiles of its resamplings."""

    value: float
    low: float
    high: float


class Resampled(Protocol):
    """Matched detections that can be scored under image weights; see metrics/resampled.py."""

    images: int
    figures: tuple[str, ...]

    def score(self, weights: np.ndarray) -> np.ndarray:
        """weights: int64 [m, images], how often each image was drawn. Returns [m, figures]."""
        ...


def draws(images: int, n: int, seed: int) -> np.ndarray:
    """n resamplings as image weights: int64 [n, images]; each row sums to `images`."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=n)


def bootstrap(data: Resampled, n: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """The 95 % interval of each figure of `data`."""
    return _intervals(data, data.score, n, seed)


def paired_difference(a: Resampled, b: Resampled, n: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """The 95 % interval of each figure of `a` minus that of `b`, both scored on the same draws of images.

    Raises ValueError unless both have the same number of images and the same figures.
    """
    if (a.images, a.figures) != (b.images, b.figures):
        raise ValueError(f"{a.images} and {b.images} images cannot be paired: score both on the same ones")
    return _intervals(a, lambda weights: a.score(weights) - b.score(weights), n, seed)


def _intervals(data: Resampled, score: Callable[[np.ndarray], np.ndarray], n: int, seed: int) -> dict[str, Interval]:
    value = score(np.ones((1, data.images), np.int64))[0]
    low, high = np.nanpercentile(score(draws(data.images, n, seed)), [2.5, 97.5], axis=0)
    return {name: Interval(*map(float, row)) for name, *row in zip(data.figures, value, low, high, strict=True)}
