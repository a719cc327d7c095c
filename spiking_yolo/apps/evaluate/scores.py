"""From predictions of all images to figures: COCO's scorer, ours of VOC, and accuracy behind one
face.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from spiking_yolo.apps.evaluate.tasks import BoxRecord, ClassRecord, from_json
from spiking_yolo.data.classification import LabelledSet
from spiking_yolo.data.coco import CocoSet, as_coco
from spiking_yolo.data.detection import DetectionSet
from spiking_yolo.metrics.bootstrap import CocoResampled, Resampled, VocResampled
from spiking_yolo.metrics.classification import AccuracyResampled, correct
from spiking_yolo.metrics.coco import FIGURES, coco_score, to_coco
from spiking_yolo.metrics.voc import VocScore, voc_map

# The others keep pycocotools' names.
COCO_NAMES = {"AP": "mAP50-95", "AP50": "mAP50"}


@dataclass(frozen=True, eq=False)
class Scored:
    """figures: by name, as fractions, nan where there is nothing to measure. per_class: AP by class
    name. objects: how many objects of a class, or images, that rests on.

    curve: (recall, precision), the mean over classes. resampled: makes what the bootstrap draws
    from, whose figures are a part of `figures`, named as there or by COCO_NAMES.
    """

    figures: dict[str, float]
    per_class: dict[str, float] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)
    curve: tuple[np.ndarray, np.ndarray] | None = None
    resampled: Callable[[], Resampled] | None = None


class Scorer(Protocol):
    """main: the figures of a table, the first of them the one that plots show. names: what that
    figure is in the names of files, and what it is of a single class.
    """

    @property
    def main(self) -> tuple[str, ...]: ...

    @property
    def names(self) -> tuple[str, str]: ...

    def rows(self, predictions: Sequence[Any]) -> list[dict[str, Any]]:
        """The predictions of all images as a file lists them."""
        ...

    def score(self, predictions: Sequence[Any]) -> Scored:
        """predictions: of all images, in the dataset's order."""
        ...


class CocoScorer:
    """The twelve figures of COCO, for any dataset. A set that is not COCO is scored as one
    (`as_coco`).
    """

    main = ("mAP50", "mAP50-95")
    names = ("mAP", "AP")

    def __init__(self, dataset: DetectionSet):
        if isinstance(dataset, CocoSet):
            self.truth: dict[str, Any] = dataset.annotations
            self.category_ids = dataset.category_ids
            self.image_ids = [int(sample.image_id) for sample in dataset.samples]
        else:
            self.truth = as_coco(dataset)
            self.category_ids = tuple(range(1, len(dataset.classes) + 1))
            self.image_ids = list(range(1, len(dataset) + 1))

    def rows(self, predictions: Sequence[BoxRecord]) -> list[dict[str, Any]]:
        """Predictions in COCO's results format."""
        pairs = zip(self.image_ids, predictions, strict=True)
        return [
            row for i, boxes in pairs for row in to_coco(from_json(boxes), i, self.category_ids)
        ]

    def score(self, predictions: Sequence[BoxRecord]) -> Scored:
        return self.score_rows(self.rows(predictions))

    def score_rows(self, rows: list[dict[str, Any]]) -> Scored:
        """rows: predictions in COCO's results format."""
        score = coco_score(self.truth, rows, self.image_ids)
        figures = {
            COCO_NAMES.get(k, k): score.stats[k] if score.stats[k] >= 0 else math.nan
            for k in FIGURES
        }

        def resampled() -> Resampled:
            return CocoResampled.of(self.truth, rows, self.image_ids)

        return Scored(figures, score.per_class_50, score.objects, score.curve(), resampled)


class VocScorer:
    """mAP of VOC by both rules, beside COCO's two."""

    main = ("mAP_area", "mAP_07")
    names = CocoScorer.names

    def __init__(self, dataset: DetectionSet):
        self.dataset, self.coco = dataset, CocoScorer(dataset)

    def rows(self, predictions: Sequence[BoxRecord]) -> list[dict[str, Any]]:
        return self.coco.rows(predictions)

    def score(self, predictions: Sequence[BoxRecord]) -> Scored:
        score = voc_map([from_json(boxes) for boxes in predictions], self.dataset)
        by_coco = self.coco.score(predictions).figures
        figures = {"mAP_area": score.mAP_area, "mAP_07": score.mAP_07}
        figures |= {name: by_coco[name] for name in COCO_NAMES.values()}
        return Scored(
            figures,
            score.per_class,
            score.npos,
            _mean_curve(score),
            lambda: VocResampled(score.ranked),
        )


class ClassificationScorer:
    """Top-1 and top-5 accuracy; per class the share of its images that top-1 finds."""

    main = ("top1", "top5")
    names = ("accuracy", "accuracy")

    def __init__(self, dataset: LabelledSet):
        self.dataset = dataset

    def rows(self, predictions: Sequence[ClassRecord]) -> list[dict[str, Any]]:
        """One row per image: its name, its label, and the best classes."""
        d = self.dataset
        return [
            {"image": picture.name, "label": label, **classes}
            for picture, label, classes in zip(
                d.pictures, d.labels.tolist(), predictions, strict=True
            )
        ]

    def score(self, predictions: Sequence[ClassRecord]) -> Scored:
        labels = self.dataset.labels
        classes = np.array([record["class_id"] for record in predictions])
        hits = {f"top{k}": correct(classes, labels, k) for k in (1, 5)}
        images = {
            name: labels == i for i, name in enumerate(self.dataset.classes) if (labels == i).any()
        }
        per_class = {name: float(hits["top1"][own].mean()) for name, own in images.items()}
        figures = {name: float(hit.mean()) for name, hit in hits.items()}
        objects = {name: int(own.sum()) for name, own in images.items()}
        return Scored(figures, per_class, objects, resampled=lambda: AccuracyResampled(hits))


def _mean_curve(score: VocScore) -> tuple[np.ndarray, np.ndarray]:
    """Interpolated precision at 101 recalls, the mean over classes; 0 beyond a class's last
    recall.
    """
    grid = np.linspace(0, 1, 101)
    total = np.zeros(101)
    for recall, precision in score.curves.values():
        at = np.searchsorted(recall, grid)
        total += np.append(precision, 0.0)[at]
    return grid, total / max(len(score.curves), 1)
