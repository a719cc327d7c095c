"""Average precision of a ranked list; integer weights let resampled images reuse one ranking."""

from typing import Literal

import numpy as np

Mode = Literal["area", "11point"]


def envelope(hits: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Interpolated precision [..., n]: at each rank, the best precision at that or any later rank.

    hits, shown: cumulative counts [..., n] of true positives and of all detections.
    """
    precision = hits / np.maximum(shown, 1)
    return np.maximum.accumulate(precision[..., ::-1], -1)[..., ::-1]


def average_precision(
    tp_ranked: np.ndarray, npos: int | np.ndarray, mode: Mode = "area", weights: np.ndarray | None = None
) -> np.ndarray:
    """AP of a list ranked best first; nan where npos is 0.

    tp_ranked: bool [n], True for a true positive, False for a false one. npos: number of objects.
    mode: "area" under the interpolated curve (VOC 2010 on), or "11point", the mean interpolated precision at recall
    0, 0.1, ..., 1 (VOC 2007). Recall is compared with k/10 in integers, hence exactly: three of ten objects reach 0.3,
    but not the float 0.30000000000000004.
    weights: how often each detection counts, [n], or [m, n] for m resamplings at once; npos is then [m].
    """
    tp = np.asarray(tp_ranked, dtype=bool)
    count = np.ones(len(tp), dtype=np.int64) if weights is None else np.asarray(weights)
    hits = np.cumsum(count * tp, -1)
    positives = np.asarray(npos)[..., None]
    known = np.maximum(positives, 1)
    if mode == "area":
        gained = count * tp / known
    else:
        reached = hits * 10 // known + 1
        gained = np.diff(reached, prepend=0) / 11
    ap = (envelope(hits, np.cumsum(count, -1)) * gained).sum(-1)
    return np.where(positives[..., 0] > 0, ap, np.nan)
