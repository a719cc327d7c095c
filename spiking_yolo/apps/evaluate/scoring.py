"""What an evaluation predicts for an image, when an image may stop early, and how predictions are
scored: by COCO's rule, by VOC's, or by accuracy.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torchvision.ops import box_iou

from spiking_yolo.data.classification import LabelledSet
from spiking_yolo.data.coco import category_index
from spiking_yolo.data.detection import DetectionSet
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.classes import TopClasses
from spiking_yolo.decode.selection import Selection
from spiking_yolo.errors import UserError
from spiking_yolo.metrics.bootstrap import (
    AccuracyResampled,
    CocoResampled,
    Resampled,
    VocResampled,
    correct,
)
from spiking_yolo.metrics.coco import FIGURES, coco_score, to_coco
from spiking_yolo.metrics.voc import VocScore, relabel, voc_map
from spiking_yolo.models.spec import Spec, numbered
from spiking_yolo.observe import Input, read_input


class Task(Protocol):
    """What an evaluation has to know about a kind of network and its data.

    Attributes:
        dataset: Has `name` and `lines()`, which identify its images.
        selection: Which boxes count; None for a classifier.
        thresholds: What decides the predictions besides the outputs of the network, of JSON's
            types.
    """

    @property
    def dataset(self) -> Any: ...

    @property
    def selection(self) -> Selection | None: ...

    @property
    def thresholds(self) -> dict[str, Any]: ...

    def read(self, index: int) -> Input:
        """An image of the dataset."""
        ...

    def relabel(self, prediction: Any) -> Any:
        """A prediction whose classes are those of the dataset."""
        ...

    def same(self, a: Any, b: Any) -> bool:
        """Whether two predictions of an image count as unchanged, for early exit."""
        ...


class DetectionTask:
    """Boxes of the classes that the dataset has, at the thresholds of an evaluation.

    Args:
        spec: Of the network.
        dataset: Photographs and their objects.
        selection: Which boxes count; those of other classes do not take their places.
        exit_conf: Early exit looks at boxes above this confidence.

    Raises:
        UserError: The network is no detector, or does not know a class of the dataset.
    """

    def __init__(
        self,
        spec: Spec,
        dataset: DetectionSet,
        selection: Selection | None = None,
        exit_conf: float = 0.25,
    ):
        if spec.task != "detect":
            raise UserError(
                "this network is a classifier, which finds no boxes: score it by --metric accuracy"
            )
        if not len(dataset):
            raise UserError(f"{dataset.name} has no images: pass a split with images")
        self.spec = spec
        self.dataset = dataset
        self.exit_conf = exit_conf
        self.classes = detection_classes(dataset, spec.names)
        common = tuple(c for c, index in enumerate(self.classes) if index >= 0)
        selection = selection or Selection(conf=0.001, max_det=100)
        self.selection = replace(selection, classes=common, multi_label=True)

    @property
    def thresholds(self) -> dict[str, Any]:
        return {**self.selection.box_options(), "exit_conf": self.exit_conf}

    def read(self, index: int) -> Input:
        return read_input(self.dataset.samples[index].image(), self.spec)

    def relabel(self, prediction: Detections) -> Detections:
        return relabel(prediction, self.classes)

    def same(self, a: Detections, b: Detections) -> bool:
        visible_a = a.take(a.confidence > self.exit_conf)
        visible_b = b.take(b.confidence > self.exit_conf)
        return same_detections(visible_a, visible_b)


def detection_classes(dataset: DetectionSet, names: Sequence[str]) -> tuple[int, ...]:
    """The index in `dataset.classes` of each class of the network, -1 if the dataset lacks it."""
    pairs = zip(dataset.category_ids, dataset.classes, strict=True)
    categories = [{"id": i, "name": name} for i, name in pairs]
    position = {c: i for i, c in enumerate(dataset.category_ids)}
    return tuple(position.get(c, -1) for c in category_index(categories, names))


class ClassificationTask:
    """The best classes of the dataset, -1 for one that it lacks.

    Args:
        spec: Of the network.
        dataset: Images and their labels.
        exit_conf: For early exit, an image goes on while its best class has no more than this
            confidence.

    Raises:
        UserError: The network is no classifier, or does not know a class of the dataset.
    """

    selection = None

    def __init__(self, spec: Spec, dataset: LabelledSet, exit_conf: float = 0.5):
        if spec.task != "classify":
            raise UserError(
                "this network is a detector, which gives images no class: score it by --metric coco"
                " or voc"
            )
        if not len(dataset):
            raise UserError(f"{dataset.name} has no images: pass a split with images")
        self.spec = spec
        self.dataset = dataset
        self.exit_conf = exit_conf
        self.classes = torch.tensor(classification_classes(dataset, spec.names))

    @property
    def thresholds(self) -> dict[str, Any]:
        return {"exit_conf": self.exit_conf}

    def read(self, index: int) -> Input:
        return read_input(self.dataset.pictures[index].source, self.spec)

    def relabel(self, prediction: TopClasses) -> TopClasses:
        valid = prediction.class_id >= 0
        labels = torch.where(valid, self.classes[prediction.class_id], -1)
        return replace(prediction, class_id=labels)

    def same(self, a: TopClasses, b: TopClasses, confidence: float = 0.02) -> bool:
        """Whether both are as confident of one class. A guess never counts as unchanged: no spike
        may have arrived yet.
        """
        before, after = float(a.confidence[0]), float(b.confidence[0])
        if min(before, after) <= self.exit_conf or abs(before - after) > confidence:
            return False
        return bool(a.class_id[0] == b.class_id[0])


def classification_classes(dataset: LabelledSet, names: Sequence[str]) -> tuple[int, ...]:
    """For each class of the network its index in `dataset.classes`, -1 where the dataset lacks it.

    Matched by name; a network whose classes have numbers only takes them in the dataset's order.
    """
    labels = {name: i for i, name in enumerate(dataset.classes)}
    if tuple(names) == numbered(len(labels)):
        return tuple(range(len(names)))
    if missing := [name for name in labels if name not in names]:
        raise UserError(
            f"the network has no class {missing[0]!r}, which {dataset.name} has ({len(names)}"
            f" classes in the network, {len(labels)} in the data): give data of the network's own"
            " classes, or its class names with --names"
        )
    return tuple(labels.get(name, -1) for name in names)


def exit_step(predictions: Sequence[Any], same: Callable[[Any, Any], bool], patience: int) -> int:
    """The first step t, counted from 1, at which `patience` steps in a row agree with the one
    before them; the last step if there is none.

    predictions: one per timestep. A later one is compared with the first of its row, so slow drift
    is a change too.
    """
    first = 0
    for t in range(1, len(predictions)):
        if not same(predictions[first], predictions[t]):
            first = t
        elif t - first == patience:
            return t + 1
    return len(predictions)


def same_detections(
    a: Detections, b: Detections, iou: float = 0.9, confidence: float = 0.02
) -> bool:
    """Whether the boxes pair off: equal class, IoU above `iou`, confidence not further apart than
    `confidence`.

    Boxes of a class that survive suppression overlap too little for two of them to fit one box that
    well, so the best partner is the only one. No box at all never counts as unchanged: a network
    that has not spiked yet goes on.
    """
    if len(a) != len(b) or len(a) == 0:
        return False
    fits = box_iou(a.xyxy, b.xyxy) > iou
    fits &= a.class_id[:, None] == b.class_id[None]
    fits &= (a.confidence[:, None] - b.confidence[None]).abs() <= confidence
    return bool(fits.any(0).all() and fits.any(1).all())


# The others keep pycocotools' names.
COCO_NAMES = {"AP": "mAP50-95", "AP50": "mAP50"}


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of one column of predictions.

    Attributes:
        figures: By name, as fractions, nan where there is nothing to measure.
        per_class: AP by class name.
        objects: How many objects of a class, or images, that rests on.
        curve: Recall and precision, the mean over classes.
        resampled: Makes what the bootstrap draws from, whose figures are a part of `figures`, named
            as there or by COCO_NAMES.
    """

    figures: dict[str, float]
    per_class: dict[str, float] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)
    curve: tuple[np.ndarray, np.ndarray] | None = None
    resampled: Callable[[], Resampled] | None = None


class Scorer(Protocol):
    """Scores the predictions of all images of a dataset.

    Attributes:
        main: The figures of a table, the first of them the one that plots show.
        names: What that figure is in the names of files, and what it is of a single class.
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
    """The twelve figures of COCO, for any dataset (`DetectionSet.as_coco`)."""

    main = ("mAP50", "mAP50-95")
    names = ("mAP", "AP")

    def __init__(self, dataset: DetectionSet):
        self.truth, self.image_ids, self.category_ids = dataset.as_coco()

    def rows(self, predictions: Sequence[Detections]) -> list[dict[str, Any]]:
        """Predictions in COCO's results format."""
        rows: list[dict[str, Any]] = []
        for image_id, boxes in zip(self.image_ids, predictions, strict=True):
            rows += to_coco(boxes, image_id, self.category_ids)
        return rows

    def score(self, predictions: Sequence[Detections]) -> Scored:
        return self.score_rows(self.rows(predictions))

    def score_rows(self, rows: list[dict[str, Any]]) -> Scored:
        """rows: predictions in COCO's results format."""
        score = coco_score(self.truth, rows, self.image_ids)
        figures: dict[str, float] = {}
        for name in FIGURES:
            value = score.stats[name]
            figures[COCO_NAMES.get(name, name)] = value if value >= 0 else math.nan

        def resampled() -> Resampled:
            return CocoResampled.of(self.truth, rows, self.image_ids)

        return Scored(figures, score.per_class_50, score.objects, score.curve(), resampled)


class VocScorer:
    """mAP of VOC by both rules, beside COCO's two."""

    main = ("mAP_area", "mAP_07")
    names = CocoScorer.names

    def __init__(self, dataset: DetectionSet):
        self.dataset = dataset
        self.coco = CocoScorer(dataset)

    def rows(self, predictions: Sequence[Detections]) -> list[dict[str, Any]]:
        return self.coco.rows(predictions)

    def score(self, predictions: Sequence[Detections]) -> Scored:
        score = voc_map(predictions, self.dataset)
        by_coco = self.coco.score(predictions).figures
        figures = {"mAP_area": score.mAP_area, "mAP_07": score.mAP_07}
        figures |= {name: by_coco[name] for name in COCO_NAMES.values()}

        def resampled() -> Resampled:
            return VocResampled(score.ranked)

        return Scored(figures, score.per_class, score.npos, _mean_curve(score), resampled)


class ClassificationScorer:
    """Top-1 and top-5 accuracy; per class the share of its images that top-1 gets right."""

    main = ("top1", "top5")
    names = ("accuracy", "accuracy")

    def __init__(self, dataset: LabelledSet):
        self.dataset = dataset

    def rows(self, predictions: Sequence[TopClasses]) -> list[dict[str, Any]]:
        """One row per image: its name, its label, and the best classes."""
        rows: list[dict[str, Any]] = []
        labels = self.dataset.labels.tolist()
        for picture, label, best in zip(self.dataset.pictures, labels, predictions, strict=True):
            confidence = [float(str(value)) for value in best.confidence.numpy()]
            row = {"class_id": best.class_id.tolist(), "confidence": confidence}
            rows.append({"image": picture.name, "label": label, **row})
        return rows

    def score(self, predictions: Sequence[TopClasses]) -> Scored:
        labels = self.dataset.labels
        classes = torch.stack([best.class_id for best in predictions]).numpy()
        hits = {f"top{k}": correct(classes, labels, k) for k in (1, 5)}
        figures = {name: float(hit.mean()) for name, hit in hits.items()}
        per_class: dict[str, float] = {}
        objects: dict[str, int] = {}
        for i, name in enumerate(self.dataset.classes):
            images = labels == i
            if images.any():
                per_class[name] = float(hits["top1"][images].mean())
                objects[name] = int(images.sum())
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
