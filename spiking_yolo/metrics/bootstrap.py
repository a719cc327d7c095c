"""Bootstrap confidence intervals over images: how much a score varies with the choice of photographs.

n images are drawn with replacement from n (Efron 1979); the interval holds the middle 95 % of the resampled scores.
Drawing an image m times gives its detections and objects the weight m. Matching happens within an image, so nothing
is matched or sorted again. A draw leaves classes without objects out of its mean, so with few images of rare classes
the interval is off-centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

_LEVEL = 95.0


@dataclass(frozen=True)
class Interval:
    """A score over all images, and the 2.5th and 97.5th percentiles of its resamplings."""

    value: float
    low: float
    high: float


class Resampled(Protocol):
    """Matched detections that can be scored under image weights; see metrics/resampled.py."""

    @property
    def images(self) -> int: ...

    @property
    def figures(self) -> tuple[str, ...]: ...

    def score(self, weights: np.ndarray) -> np.ndarray:
        """weights: int64 [m, images], how often each image was drawn. Returns [m, figures]."""
        ...


def draws(images: int, n: int, seed: int) -> np.ndarray:
    """n resamplings as image weights: int64 [n, images]; each row sums to `images`."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=n)


def bootstrap(data: Resampled, n: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """The 95 % interval of each figure of `data`."""
    weights = draws(data.images, n, seed)
    return _intervals(data.figures, data.score(_once(data)), data.score(weights))


def paired_difference(a: Resampled, b: Resampled, n: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """The 95 % interval of each figure of `a` minus that of `b`, both scored on the same draws of images.

    Raises ValueError unless both have the same number of images and the same figures.
    """
    if (a.images, a.figures) != (b.images, b.figures):
        raise ValueError(f"{a.images} and {b.images} images cannot be paired: score both on the same ones")
    weights = draws(a.images, n, seed)
    return _intervals(a.figures, a.score(_once(a)) - b.score(_once(b)), a.score(weights) - b.score(weights))


def _once(data: Resampled) -> np.ndarray:
    return np.ones((1, data.images), np.int64)


def _intervals(names: tuple[str, ...], value: np.ndarray, resampled: np.ndarray) -> dict[str, Interval]:
    tail = (100 - _LEVEL) / 2
    low, high = np.nanpercentile(resampled, [tail, 100 - tail], axis=0)
    return {name: Interval(float(value[0, i]), float(low[i]), float(high[i])) for i, name in enumerate(names)}
