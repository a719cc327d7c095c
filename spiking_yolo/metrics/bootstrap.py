"""Bootstrap confidence intervals over images: how much a score varies with the choice of
photographs.

n images are drawn with replacement from n (Efron 1979); the interval holds the middle 95 % of the
resampled scores. Drawing an image m times gives its detections and objects the weight m. Matching
happens within an image, so nothing is matched or sorted again. A draw leaves classes without
objects out of its mean, so with few images of rare classes the interval is off-centre. Should it
then miss the score itself, it is widened up to it: 95 % is the least it holds.

Frames of a video resemble their neighbours: drawn one by one they would feign many independent
images. They are drawn in blocks of consecutive frames (Kuensch 1989), which run on from the last
frame to the first, so that every frame is drawn equally often (Politis and Romano 1992).
"""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from spiking_yolo.metrics.coco import evaluator
from spiking_yolo.metrics.voc import Mode, Ranked, average_precision, envelope


@dataclass(frozen=True)
class Interval:
    """A score over all images, and the 2.5th and 97.5th percentiles of its resamplings, widened to
    hold the score.
    """

    value: float
    low: float
    high: float


class Resampled(Protocol):
    """Matched detections that can be scored under image weights; see metrics/bootstrap.py."""

    images: int
    figures: tuple[str, ...]

    def score(self, weights: np.ndarray) -> np.ndarray:
        """weights: int64 [m, images], how often each image was drawn. Returns [m, figures]."""
        ...


def draws(images: int, n: int, seed: int) -> np.ndarray:
    """n resamplings as image weights: int64 [n, images]; each row sums to `images`."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=n)


@dataclass(frozen=True)
class Blocks:
    """Blocks of consecutive frames, drawn from each video for itself.

    frames: of each video. length: frames in a block; at most a quarter of its video, since few
    blocks vary too little.
    """

    frames: tuple[int, ...]
    length: int = 15

    def draws(self, n: int, seed: int) -> np.ndarray:
        """n resamplings as weights of the frames of all videos in a row: int64 [n, frames].

        Each video keeps its number of frames, for which its last block is cut.
        """
        rng = np.random.default_rng(seed)
        return np.concatenate([self._of_video(frames, n, rng) for frames in self.frames], 1)

    def _of_video(self, frames: int, n: int, rng: np.random.Generator) -> np.ndarray:
        length = max(1, min(self.length, frames // 4))
        starts = rng.integers(0, max(frames, 1), (n, -(-frames // length), 1))
        drawn = (starts + np.arange(length)).reshape(n, -1)[:, :frames] % max(frames, 1)
        cells = drawn + frames * np.arange(n)[:, None]
        return np.bincount(cells.ravel(), minlength=n * frames).reshape(n, frames)


@dataclass(frozen=True, eq=False)
class Resampling:
    """What is kept of a measurement: its figures over all images, float [figures], and over n
    draws, [n, figures].

    images, seed, blocks: of the draws; only measurements that were scored on the same draws are
    subtracted.
    """

    figures: tuple[str, ...]
    images: int
    seed: int
    value: np.ndarray
    scores: np.ndarray
    blocks: Blocks | None = None

    @classmethod
    def of(
        cls, data: Resampled, n: int = 1000, seed: int = 0, blocks: Blocks | None = None
    ) -> "Resampling":
        """n: 0 for the figures alone. blocks: for frames of videos; by default images are drawn one
        by one.
        """
        if blocks and sum(blocks.frames) != data.images:
            raise ValueError(
                f"blocks of {sum(blocks.frames)} frames do not fit {data.images} scored ones"
            )
        value = data.score(np.ones((1, data.images), np.int64))[0]
        if not n:
            return cls(data.figures, data.images, seed, value, np.empty((0, len(value))), blocks)
        weights = blocks.draws(n, seed) if blocks else draws(data.images, n, seed)
        return cls(data.figures, data.images, seed, value, data.score(weights), blocks)

    def __sub__(self, other: "Resampling") -> "Resampling":
        """The paired difference. Raises ValueError unless figures, images and draws are the
        same.
        """
        if (self.images, self.figures) != (other.images, other.figures):
            raise ValueError(
                f"{self.images} and {other.images} images cannot be paired: score both on the same"
                " ones"
            )
        if (self.seed, len(self.scores), self.blocks) != (
            other.seed,
            len(other.scores),
            other.blocks,
        ):
            raise ValueError(
                "other draws cannot be paired: resample both as often, with the same seed and"
                " blocks"
            )
        return replace(self, value=self.value - other.value, scores=self.scores - other.scores)

    def intervals(self) -> dict[str, Interval]:
        """The 95 % interval of each figure."""
        with warnings.catch_warnings():
            # Without objects every draw is nan.
            warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
            low, high = np.nanpercentile(self.scores, [2.5, 97.5], axis=0)
        low, high = np.fmin(low, self.value), np.fmax(high, self.value)
        rows = zip(self.figures, self.value, low, high, strict=True)
        return {name: Interval(*map(float, row)) for name, *row in rows}


# Numbers per array: resamplings are taken in parts to bound the memory.
_AT_ONCE = 4_000_000


def _in_parts(
    score: Callable[[np.ndarray], np.ndarray], weights: np.ndarray, width: int
) -> np.ndarray:
    """score(weights); width: how many numbers it holds per resampling."""
    rows = max(1, _AT_ONCE // max(width, 1))
    return np.concatenate([score(weights[i : i + rows]) for i in range(0, len(weights), rows)])


def _mean_of_known(per_class: np.ndarray) -> np.ndarray:
    """Mean over the first axis, ignoring nan; nan where all are."""
    known = ~np.isnan(per_class)
    count = known.sum(0)
    return np.where(count > 0, np.where(known, per_class, 0).sum(0) / np.maximum(count, 1), np.nan)


class VocResampled:
    """mAP_area and mAP_07 of `VocScore.ranked`. Classes without objects in a draw are left out of
    its mean.
    """

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
            return average_precision(
                ranked.tp, part @ ranked.positives, mode, part[:, ranked.image]
            )

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
    """AP (50-95) and AP50 from pycocotools' matches. Categories without objects in a draw are left
    out of its mean.
    """

    figures: tuple[str, ...] = ("AP", "AP50")

    def __init__(self, ranked: list[CocoRanked], recalls: np.ndarray, images: int) -> None:
        self.ranked, self.recalls, self.images = ranked, recalls, images

    @classmethod
    def of(
        cls,
        gt: dict[str, Any],
        predictions: list[dict[str, Any]],
        image_ids: Iterable[int] | None = None,
    ) -> "CocoResampled":
        """Match once; the arguments are those of `coco_score`."""
        run = evaluator(gt, predictions, image_ids, "pycocotools")
        run.params.areaRng, run.params.areaRngLbl = (
            run.params.areaRng[:1],
            run.params.areaRngLbl[:1],
        )
        with contextlib.redirect_stdout(io.StringIO()):
            run.evaluate()
        images = len(run.params.imgIds)
        rows = [run.evalImgs[k * images : (k + 1) * images] for k in range(len(run.params.catIds))]
        return cls([_coco_ranked(row) for row in rows], run.params.recThrs, images)

    def per_class(self, weights: np.ndarray) -> np.ndarray:
        """AP of each category at the 10 IoU thresholds, [categories, m, 10]; nan without
        objects.
        """
        return np.stack([_in_parts(partial(self._ap, r), weights, r.tp.size) for r in self.ranked])

    def score(self, weights: np.ndarray) -> np.ndarray:
        ap = self.per_class(weights)
        all_thresholds = ap.transpose(0, 2, 1).reshape(-1, len(weights))
        return np.stack([_mean_of_known(all_thresholds), _mean_of_known(ap[..., 0])], 1)

    def _ap(self, ranked: CocoRanked, weights: np.ndarray) -> np.ndarray:
        """101-point AP [m, 10]: each rank is weighted by the number of recall thresholds first
        reached there.
        """
        count = weights[:, None, ranked.image]  # [m, 1, n]
        hits, misses = np.cumsum(count * ranked.tp, -1), np.cumsum(count * ranked.fp, -1)
        npos = (weights @ ranked.positives)[:, None]
        reached = np.searchsorted(self.recalls, hits / np.maximum(npos, 1)[..., None], side="right")
        gained = np.diff(reached, axis=-1, prepend=0)
        ap = (envelope(hits, hits + misses) * gained).sum(-1) / len(self.recalls)
        return np.where(npos > 0, ap, np.nan)


def _coco_ranked(rows: list[dict[str, Any] | None]) -> CocoRanked:
    """The matches of one category. rows: pycocotools' evalImgs, None for images without a box of
    it.

    Each row holds an image's 100 best detections, the largest of maxDets.
    """
    positives = np.array(
        [0 if row is None else np.count_nonzero(row["gtIgnore"] == 0) for row in rows]
    )
    there = [(i, row) for i, row in enumerate(rows) if row is not None]
    scores = np.concatenate([np.zeros(0), *(row["dtScores"] for _, row in there)])
    # Equal scores stay in pycocotools' order.
    order = np.argsort(-scores, kind="mergesort")
    image = np.concatenate(
        [np.zeros(0, np.int64), *(np.full(len(row["dtScores"]), i) for i, row in there)]
    )
    none = np.zeros((10, 0), bool)
    matched = np.concatenate([none, *(row["dtMatches"] > 0 for _, row in there)], 1)[:, order]
    ignored = np.concatenate([none, *(row["dtIgnore"] > 0 for _, row in there)], 1)[:, order]
    return CocoRanked(matched & ~ignored, ~matched & ~ignored, image[order], positives)


def correct(classes: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Whether each label [n] is among the first k columns of `classes` [n, m], as of `ranked`:
    bool [n].
    """
    return (classes[:, :k] == labels[:, None]).any(1)


class AccuracyResampled:
    """Accuracies as functions of image weights, for the bootstrap.

    hits: figure -> whether each image counts as correct, bool [images].
    """

    def __init__(self, hits: dict[str, np.ndarray]) -> None:
        self.figures = tuple(hits)
        self._hits = np.stack(list(hits.values()), 1).astype(np.float64)  # [images, figures]
        self.images = len(self._hits)

    def score(self, weights: np.ndarray) -> np.ndarray:
        """weights: int64 [m, images]. Returns [m, figures]."""
        return weights @ self._hits / weights.sum(1, keepdims=True)
