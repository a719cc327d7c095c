"""Top-k accuracy of a classifier."""

import numpy as np
import torch
from torch import Tensor


def top_classes(logits: Tensor, k: int) -> Tensor:
    """The k classes with the largest logits, best first: int64 [n, min(k, classes)] from [n,
    classes].

    Ties go to the lower index. A nan logit counts as minus infinity, and its class is given as -1.
    """
    known = ~logits.isnan()
    order = (
        torch.where(known, logits, -torch.inf)
        .sort(dim=1, descending=True, stable=True)
        .indices[:, :k]
    )
    return torch.where(known.gather(1, order), order, -1)


def correct(classes: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Whether each label [n] is among the first k columns of `classes` [n, m], as of `top_classes`:
    bool [n].
    """
    return (classes[:, :k] == labels[:, None]).any(1)


class AccuracyResampled:
    """Accuracies as functions of image weights, for the bootstrap; see metrics/bootstrap.py.

    hits: figure -> whether each image counts as correct, bool [images].
    """

    def __init__(self, hits: dict[str, np.ndarray]) -> None:
        self.figures = tuple(hits)
        self._hits = np.stack(list(hits.values()), 1).astype(np.float64)  # [images, figures]
        self.images = len(self._hits)

    def score(self, weights: np.ndarray) -> np.ndarray:
        """weights: int64 [m, images]. Returns [m, figures]."""
        return weights @ self._hits / weights.sum(1, keepdims=True)
