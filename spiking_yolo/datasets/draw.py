"""Some of many images. That of --limit is a seeded choice, made in the same way wherever images are limited."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def draw(items: Sequence[T], n: int, seed: int = 0) -> list[T]:
    """n of the items, drawn without replacement and kept in their order; all of them when there are no more."""
    chosen = np.random.default_rng(seed).choice(len(items), min(n, len(items)), replace=False)
    return [items[i] for i in np.sort(chosen)]


def spread(items: Sequence[T], n: int) -> Sequence[T]:
    """n of the items, at equal distances."""
    return items[:: max(1, len(items) // n)][:n]
