"""VOC's and COCO's mAP as functions of image weights, for the bootstrap."""

import contextlib
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from spiking_yolo.metrics.coco import evaluator
from spiking_yolo.metrics.precision import Mode, average_precision, envelope
from spiking_yolo.metrics.voc import Ranked

_AT_ONCE = 4_000_000  # numbers per array: resamplings are taken in parts to bound the memory


def _in_parts(score: Callable[[np.ndarray], np.ndarray], weights: np.ndarray, width: int) -> np.ndarray:
    """score(weights); width: how many numbers it holds per resampling."""
    rows = max(1, _AT_ONCE // max(width, 1))
    return np.concatenate([score(weights[i : i + rows]) for i in range(0, len(weights), rows)])


def _mean_of_known(per_class: np.ndarray) -> np.ndarray:
    """Mean over the first axis, ignoring nan; nan where all are."""
    known = ~np.isnan(per_class)
    count = known.sum(0)
    return np.where(count > 0, np.where(known, per_class, 0).sum(0) / np.maximum(count, 1), np.nan)


class VocResampled:
    """mAP_area and mAP_07 of `VocScore.ranked`. Classes without objects in a draw are left out of its mean."""

    figures: tuple[str, ...] = ("mAP_area", "mAP_07")

    def __init__(self, ranked: Mapping[str, Ranked]) -> None:
        self.ranked = list(ranked.values())
        self.images = len(self.ranked[0].positives)

    def score(self, weights: np.ndarray) -> np.ndarray:
        modes: tuple[Mode, ...] = ("area", "11point")
        per_class = (np.stack([self._ap(r, mode, weights) for r in self.ranked]) for mode in modes)
        return np.stack([_mean_of_known(ap) for ap in per_class], 1)

    def _ap(self, ranked: Ranked, mode: Mode, weights: np.ndarray) -> np.ndarray:
        def ap(part: np.ndarray) -> np.ndarray:
            return average_precision(ranked.tp, part @ ranked.positives, mode, part[:, ranked.image])

        return _in_parts(ap, weights, len(ranked.tp))


@dataclass(frozen=True, eq=False)
class CocoRanked:
    """Detections of one category over all images, best first; all areas, at most 100 per image.

    tp, fp: bool [10 IoU thresholds, n]; both False for a detection of a crowd. image: int64 [n].
    positives: int64 [images].
    """

    tp: np.ndarray
    fp: np.ndarray
    image: np.ndarray
    positives: np.ndarray


class CocoResampled:
    """AP (50-95) and AP50 from pycocotools' matches. Categories without objects in a draw are left out of its mean."""

    figures: tuple[str, ...] = ("AP", "AP50")

    def __init__(self, ranked: list[CocoRanked], recalls: np.ndarray, images: int) -> None:
        self.ranked, self.recalls, self.images = ranked, recalls, images

    @classmethod
    def of(
        cls, gt: dict[str, Any], predictions: list[dict[str, Any]], image_ids: Iterable[int] | None = None
    ) -> "CocoResampled":
        """Match once; the arguments are those of `coco_score`."""
        run = evaluator(gt, predictions, image_ids, "pycocotools")
        run.params.areaRng, run.params.areaRngLbl = run.params.areaRng[:1], run.params.areaRngLbl[:1]
        with contextlib.redirect_stdout(io.StringIO()):
            run.evaluate()
        images = len(run.params.imgIds)
        rows = [run.evalImgs[k * images : (k + 1) * images] for k in range(len(run.params.catIds))]
        return cls([_coco_ranked(row) for row in rows], run.params.recThrs, images)

    def per_class(self, weights: np.ndarray) -> np.ndarray:
        """AP of each category at the 10 IoU thresholds, [categories, m, 10]; nan without objects."""
        return np.stack([_in_parts(partial(self._ap, r), weights, r.tp.size) for r in self.ranked])

    def score(self, weights: np.ndarray) -> np.ndarray:
        ap = self.per_class(weights)
        all_thresholds = ap.transpose(0, 2, 1).reshape(-1, len(weights))
        return np.stack([_mean_of_known(all_thresholds), _mean_of_known(ap[..., 0])], 1)

    def _ap(self, ranked: CocoRanked, weights: np.ndarray) -> np.ndarray:
        """101-point AP [m, 10]: each rank is weighted by the number of recall thresholds first reached there."""
        count = weights[:, None, ranked.image]  # [m, 1, n]
        hits, misses = np.cumsum(count * ranked.tp, -1), np.cumsum(count * ranked.fp, -1)
        npos = (weights @ ranked.positives)[:, None]
        reached = np.searchsorted(self.recalls, hits / np.maximum(npos, 1)[..., None], side="right")
        gained = np.diff(reached, axis=-1, prepend=0)
        ap = (envelope(hits, hits + misses) * gained).sum(-1) / len(self.recalls)
        return np.where(npos > 0, ap, np.nan)


def _coco_ranked(rows: list[dict[str, Any] | None]) -> CocoRanked:
    """The matches of one category. rows: pycocotools' evalImgs, None for images without a box of it.

    Each row holds an image's 100 best detections, the largest of maxDets.
    """
    positives = np.array([0 if row is None else np.count_nonzero(row["gtIgnore"] == 0) for row in rows])
    there = [(i, row) for i, row in enumerate(rows) if row is not None]
    scores = np.concatenate([np.zeros(0), *(row["dtScores"] for _, row in there)])
    order = np.argsort(-scores, kind="mergesort")  # equal scores stay in pycocotools' order
    image = np.concatenate([np.zeros(0, np.int64), *(np.full(len(row["dtScores"]), i) for i, row in there)])
    none = np.zeros((10, 0), bool)
    matched = np.concatenate([none, *(row["dtMatches"] > 0 for _, row in there)], 1)[:, order]
    ignored = np.concatenate([none, *(row["dtIgnore"] > 0 for _, row in there)], 1)[:, order]
    return CocoRanked(matched & ~ignored, ~matched & ~ignored, image[order], positives)
