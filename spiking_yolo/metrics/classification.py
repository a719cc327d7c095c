"""Top-k accuracy of a classifier."""

import numpy as np


def correct(classes: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Whether each label [n] is among the first k columns of `classes` [n, m], as of `ranked`:
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
