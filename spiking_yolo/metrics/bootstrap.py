"""Bootstrap confidence intervals over images: how much a score varies with the choice of
photographs.

n images are drawn with replacement from n (Efron 1979); the interval holds the middle 95 % of the
resampled scores. Drawing an image m times gives its detections and objects the weight m. Matching
happens within an image, so nothing is matched or sorted again. A draw leaves classes without
objects out of its mean, so with few images of rare classes the interval is off-centre. If it misses
the score itself, it is widened to include it, so it covers at least 95 %.

Frames of a video resemble their neighbours and are no independent images. They are drawn in blocks
of consecutive frames (Kuensch 1989), which wrap around from the last frame to the first, so that
every frame is drawn equally often (Politis and Romano 1992).
"""

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spiking_yolo.metrics.precision import Ranked, Rule, evaluator


@dataclass(frozen=True)
class Interval:
    """A score over all images and its 95 % interval, widened to include the score."""

    value: float
    low: float
    high: float


def draws(images: int, n: int, seed: int) -> np.ndarray:
    """n resamplings as image weights: int64 [n, images]; each row sums to `images`."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=n)


@dataclass(frozen=True)
class Blocks:
    """Blocks of consecutive frames, drawn within each video.

    Attributes:
        frames: Number of frames of each video.
        length: Frames in a block; at most a quarter of the video, since few blocks vary too little.
    """

    frames: tuple[int, ...]
    length: int = 15

    def draws(self, n: int, seed: int) -> np.ndarray:
        """n resamplings as weights of the frames of all videos in a row: int64 [n, frames].

        Each video keeps its number of frames, for which its last block is cut.
        """
        rng = np.random.default_rng(seed)
        weights: list[np.ndarray] = []
        for frames in self.frames:
            length = max(1, min(self.length, frames // 4))
            starts = rng.integers(0, max(frames, 1), (n, -(-frames // length), 1))
            indices = (starts + np.arange(length)).reshape(n, -1)[:, :frames] % max(frames, 1)
            cells = indices + frames * np.arange(n)[:, None]
            counts = np.bincount(cells.ravel(), minlength=n * frames)
            weights.append(counts.reshape(n, frames))
        return np.concatenate(weights, 1)


@dataclass(frozen=True, eq=False)
class Resampling:
    """The figures of a measurement over all images and over n resamplings.

    Attributes:
        figures: Names of the figures.
        images: Number of images.
        seed: Seed of the draws; only measurements on the same draws can be subtracted.
        value: Over all images, float [figures].
        scores: Scores of the resamplings, float [n, figures].
        blocks: Blocks that are drawn; None where images are drawn one by one.
    """

    figures: tuple[str, ...]
    images: int
    seed: int
    value: np.ndarray
    scores: np.ndarray
    blocks: Blocks | None = None

    @classmethod
    def of(
        cls, data: "Resampled", n: int = 1000, seed: int = 0, blocks: Blocks | None = None
    ) -> "Resampling":
        """Score all images and n resamplings of them.

        Args:
            data: The matched detections.
            n: Number of resamplings; 0 for the figures over all images alone.
            seed: Seed of the draws.
            blocks: For frames of videos; by default images are drawn one by one.
        """
        value = data.score(np.ones((1, data.images), np.int64))[0]
        scores = np.empty((0, len(value)))
        if n:
            weights = blocks.draws(n, seed) if blocks else draws(data.images, n, seed)
            scores = data.score(weights)
        return cls(data.figures, data.images, seed, value, scores, blocks)

    def __sub__(self, other: "Resampling") -> "Resampling":
        """The paired difference.

        Raises:
            ValueError: Figures, images or draws are not the same.
        """
        for name in ("images", "figures", "seed", "blocks"):
            if getattr(self, name) != getattr(other, name):
                raise ValueError(f"only resamplings of the same {name} can be paired")
        return replace(self, value=self.value - other.value, scores=self.scores - other.scores)

    def intervals(self) -> dict[str, Interval]:
        """The 95 % interval of each figure."""
        with warnings.catch_warnings():
            # Every draw without objects is nan.
            warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
            lows, highs = np.nanpercentile(self.scores, [2.5, 97.5], axis=0)
        lows = np.fmin(lows, self.value)
        highs = np.fmax(highs, self.value)
        rows = zip(self.figures, self.value, lows, highs, strict=True)
        return {name: Interval(*map(float, row)) for name, *row in rows}


# Numbers per array: resamplings are scored in parts to bound the memory.
_AT_ONCE = 4_000_000


def _per_class(ranked: Sequence[Ranked], weights: np.ndarray, rule: Rule) -> np.ndarray:
    """Average precision of each class, float [classes, m, K]."""
    classes: list[np.ndarray] = []
    for one in ranked:
        rows = max(1, _AT_ONCE // max(one.tp.size, 1))
        parts: list[np.ndarray] = []
        for start in range(0, len(weights), rows):
            parts.append(one.average_precision(weights[start : start + rows], rule))
        classes.append(np.concatenate(parts))
    return np.stack(classes)


def _nanmean(per_class: np.ndarray) -> np.ndarray:
    """np.nanmean over the first axis, without its warning where all are nan."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(per_class, 0)


class VocResampled:
    """mAP_area and mAP_07 of `VocScore.ranked`, over the classes with objects in a draw."""

    figures: tuple[str, ...] = ("mAP_area", "mAP_07")

    def __init__(self, ranked: Mapping[str, Ranked]) -> None:
        self.ranked = list(ranked.values())
        self.images = len(self.ranked[0].positives)

    def score(self, weights: np.ndarray) -> np.ndarray:
        area = _per_class(self.ranked, weights, "area")[..., 0]
        eleven_points = _per_class(self.ranked, weights, "11 points")[..., 0]
        return np.stack([_nanmean(area), _nanmean(eleven_points)], 1)


class CocoResampled:
    """AP (50-95) and AP50 from pycocotools' matches, over the categories with objects in a draw."""

    figures: tuple[str, ...] = ("AP", "AP50")

    def __init__(self, gt: dict[str, Any], predictions: list[dict[str, Any]]) -> None:
        """Match once; the arguments are those of `coco_score`."""
        run = evaluator(gt, predictions)
        # The first of the areas is all of them.
        run.params.areaRng = run.params.areaRng[:1]
        run.params.areaRngLbl = run.params.areaRngLbl[:1]
        with contextlib.redirect_stdout(io.StringIO()):
            run.evaluate()
        self.images = images = len(run.params.imgIds)
        self.ranked: list[Ranked] = []
        for start in range(0, len(run.params.catIds) * images, images):
            self.ranked.append(_coco_ranked(run.evalImgs[start : start + images]))

    def score(self, weights: np.ndarray) -> np.ndarray:
        ap = _per_class(self.ranked, weights, "101 points")
        all_thresholds = ap.transpose(0, 2, 1).reshape(-1, len(weights))
        return np.stack([_nanmean(all_thresholds), _nanmean(ap[..., 0])], 1)


def _coco_ranked(rows: list[dict[str, Any] | None]) -> Ranked:
    """The matches of one category.

    rows: pycocotools' evalImgs, each with the 100 best detections of an image (the largest of
    maxDets), or None for an image without a box of this category.
    """
    positives = np.zeros(len(rows), np.int64)
    scores = [np.zeros(0)]
    image = [np.zeros(0, np.int64)]
    matched = [np.zeros((10, 0), bool)]
    ignored = [np.zeros((10, 0), bool)]
    for i, row in enumerate(rows):
        if row is None:
            continue
        positives[i] = np.count_nonzero(row["gtIgnore"] == 0)
        scores.append(row["dtScores"])
        image.append(np.full(len(row["dtScores"]), i))
        matched.append(row["dtMatches"] > 0)
        ignored.append(row["dtIgnore"] > 0)
    # Equal scores stay in pycocotools' order.
    order = np.argsort(-np.concatenate(scores), kind="mergesort")
    tp = np.concatenate(matched, 1)[:, order]
    counts = ~np.concatenate(ignored, 1)[:, order]
    return Ranked(tp & counts, ~tp & counts, np.concatenate(image)[order], positives)


def correct(classes: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Whether each label is among the k best classes, bool [n].

    Args:
        classes: Classes of each image, best first, [n, m].
        labels: True classes, [n].
        k: How many of the best classes count.
    """
    return (classes[:, :k] == labels[:, None]).any(1)


class AccuracyResampled:
    """Accuracies of a classifier under image weights.

    Args:
        hits: Figure -> whether each image counts as correct, bool [images].
    """

    def __init__(self, hits: dict[str, np.ndarray]) -> None:
        self.figures = tuple(hits)
        self._hits = np.stack(list(hits.values()), 1).astype(np.float64)  # [images, figures]
        self.images = len(self._hits)

    def score(self, weights: np.ndarray) -> np.ndarray:
        """Figures of m resamplings, [m, figures], under image weights, int64 [m, images]."""
        return weights @ self._hits / weights.sum(1, keepdims=True)


Resampled = VocResampled | CocoResampled | AccuracyResampled
