"""Mean average precision: COCO's metrics by pycocotools, and the rules of the PASCAL VOC
development kit (VOCevaldet.m).

VOC differs from COCO: IoU counts pixels inclusively (width = x2 - x1 + 1). A detection is compared
only with the object that it overlaps most, so a second detection of an object is false even when it
also overlaps an unmatched one. IoU >= 0.5 matches (py-faster-rcnn's copy needs more than 0.5).
Detections of difficult objects are neither true nor false. Equal confidences rank in input order.
Classes without objects are left out of the mean.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import box_convert

from spiking_yolo.data.datasets import DetectionSet, Sample
from spiking_yolo.decode.boxes import Detections

FIGURES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
FIGURES += ("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large")


@dataclass(frozen=True, eq=False)
class CocoScore:
    """COCO's twelve numbers as fractions, -1 where there is nothing to measure.

    Attributes:
        stats: Name of FIGURES -> its value.
        per_class: AP50 by category name, for categories with objects.
        objects: Number of objects of these categories, crowds not counted.
    """

    stats: dict[str, float]
    per_class: dict[str, float]
    objects: dict[str, int]


def to_coco(
    detections: Detections, image_id: int, category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Detections of one image as rows of a COCO results file, unrounded.

    Args:
        detections: Detections in the image.
        image_id: The image's id in the dataset.
        category_ids: The category of each class of the network; -1 drops a class that the dataset
            does not have.
    """
    boxes = box_convert(detections.xyxy.double(), "xyxy", "xywh").tolist()
    scores = detections.confidence.tolist()
    rows: list[dict[str, Any]] = []
    for box, score, c in zip(boxes, scores, detections.class_id.tolist(), strict=True):
        category = category_ids[c]
        if category >= 0:
            row = {"image_id": image_id, "category_id": category, "bbox": box, "score": score}
            rows.append(row)
    return rows


def coco_score(gt: dict[str, Any], predictions: list[dict[str, Any]]) -> CocoScore:
    """Score boxes by COCO's rules, without printing.

    Args:
        gt: What `DetectionSet.as_coco` gives; ids of objects begin with 1.
        predictions: Rows of `to_coco`.
    """
    run = evaluator(gt, predictions)
    with contextlib.redirect_stdout(io.StringIO()):
        run.evaluate()
        run.accumulate()
        run.summarize()
    stats = {name: float(value) for name, value in zip(FIGURES, run.stats[:12], strict=True)}
    # The precision at an IoU of 0.5, of all areas, with 100 boxes per image: [recalls,
    # categories].
    precision = np.asarray(run.eval["precision"])[0, :, :, 0, -1]
    scored = [one["category_id"] for one in gt["annotations"] if not one["iscrowd"]]
    per_class: dict[str, float] = {}
    objects: dict[str, int] = {}
    for k, category in enumerate(run.cocoGt.loadCats(run.params.catIds)):
        if category["id"] in scored:
            per_class[category["name"]] = float(precision[:, k].mean())
            objects[category["name"]] = scored.count(category["id"])
    return CocoScore(stats, per_class, objects)


def evaluator(gt: dict[str, Any], predictions: list[dict[str, Any]]) -> Any:
    """A COCOeval, ready to run."""

    def index(annotations: list[dict[str, Any]]) -> Any:
        coco: Any = COCO()
        # pycocotools writes into them.
        coco.dataset = {**gt, "annotations": list(map(dict, annotations))}
        coco.createIndex()
        return coco

    rows: list[dict[str, Any]] = []
    for row in predictions:
        area = row["bbox"][2] * row["bbox"][3]
        rows.append({**row, "id": len(rows) + 1, "area": area, "iscrowd": 0})
    with contextlib.redirect_stdout(io.StringIO()):
        return COCOeval(index(gt["annotations"]), index(rows), "bbox")


# How recall is sampled: the area under the interpolated curve (VOC 2010 on), or the mean of the
# interpolated precision at recall 0, 0.1, ..., 1 (VOC 2007) or 0, 0.01, ..., 1 (COCO).
Rule = Literal["area", "11 points", "101 points"]
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, eq=False)
class Ranked:
    """The detections of one class over all images, best first.

    Attributes:
        tp: True positives at each of K IoU thresholds, bool [K, n].
        fp: False positives likewise; detections of ignored objects are neither.
        image: Position of each detection's image, int64 [n].
        positives: Objects of the class per image, without ignored ones, int64 [images].
    """

    tp: np.ndarray
    fp: np.ndarray
    image: np.ndarray
    positives: np.ndarray

    def average_precision(self, weights: np.ndarray, rule: Rule) -> np.ndarray:
        """Average precision, float [m, K]; nan where there are no objects.

        Interpolated precision is the best at a rank or any later one. Detections that are wrong at
        all thresholds, most of them, only lower the precision of what follows: they are counted
        once, and the others at every threshold.

        Args:
            weights: How often each image counts in m resamplings, int64 [m, images].
            rule: How recall is sampled.
        """
        wrong = self.fp.all(0)
        count = weights[:, self.image]
        before = np.cumsum(count * wrong, -1)[:, None, ~wrong]
        found = count[:, None, ~wrong] * self.tp[:, ~wrong]
        hits = np.cumsum(found, -1)
        misses = np.cumsum(count[:, None, ~wrong] * self.fp[:, ~wrong], -1) + before
        precision = hits / np.maximum(hits + misses, 1)
        best = np.maximum.accumulate(precision[..., ::-1], -1)[..., ::-1]
        objects = (weights @ self.positives)[:, None]
        positives = np.maximum(objects, 1)[..., None]
        if rule == "area":
            gained = found / positives
        elif rule == "11 points":
            # Integers compare exactly: three of ten objects reach 0.3, but not the float
            # 0.30000000000000004.
            gained = np.diff(hits * 10 // positives + 1, prepend=0) / 11
        else:
            reached = np.searchsorted(_RECALLS, hits / positives, side="right")
            gained = np.diff(reached, prepend=0) / 101
        return np.where(objects > 0, (best * gained).sum(-1), np.nan)


TRUE, FALSE, IGNORED = 1, 0, -1
# The overlap of a match is at least this.
LEAST_IOU = 0.5


@dataclass(frozen=True, eq=False)
class VocScore:
    """Mean average precision as fractions; nan when no class has objects.

    Attributes:
        mAP_area: Area under the interpolated curve (VOC 2010 on).
        mAP_07: 11-point interpolation (VOC 2007).
        per_class: AP (area) of each class that has objects.
        npos: Objects per class, difficult ones not counted.
        ranked: The ranked detections, which `bootstrap` resamples.
    """

    mAP_area: float
    mAP_07: float
    per_class: dict[str, float]
    npos: dict[str, int]
    ranked: dict[str, Ranked]


def inclusive_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU [n, m] of xyxy boxes [n, 4] and [m, 4] whose corners are their first and last pixels."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low + 1, 0, None).prod(-1)
    area_a = (a[:, 2:] - a[:, :2] + 1).prod(-1)
    area_b = (b[:, 2:] - b[:, :2] + 1).prod(-1)
    return inter / (area_a[:, None] + area_b[None] - inter)


def match(boxes: np.ndarray, labels: np.ndarray, truth: Sample) -> np.ndarray:
    """Match the detections of one image with its objects.

    Args:
        boxes: xyxy, best first, float [n, 4].
        labels: int [n].
        truth: The image's objects.

    Returns:
        TRUE, FALSE or IGNORED for each detection, int [n].
    """
    outcome = np.full(len(boxes), FALSE)
    if not len(boxes) or not len(truth.boxes):
        return outcome
    iou = np.where(labels[:, None] == truth.labels[None], inclusive_iou(boxes, truth.boxes), -1.0)
    best = iou.argmax(1)
    over = np.flatnonzero(iou.max(1) >= LEAST_IOU)
    # Later detections of an object are duplicates.
    _, first = np.unique(best[over], return_index=True)
    outcome[over[first]] = TRUE
    outcome[over[truth.ignored[best[over]]]] = IGNORED
    return outcome


def rank(predictions: Sequence[Detections], dataset: DetectionSet) -> dict[str, Ranked]:
    """Match every image and rank the detections of each class; arguments as in `voc_map`."""
    dataset = dataset.indexed()
    no_detections = np.zeros(0, np.int64)
    matched = [(no_detections, no_detections, no_detections, no_detections)]
    positives = np.zeros((len(dataset.classes), len(dataset)), np.int64)
    for i, (detections, truth) in enumerate(zip(predictions, dataset.samples, strict=True)):
        scores = detections.confidence.double().cpu().numpy()
        best_first = np.argsort(-scores, kind="stable")
        boxes = detections.xyxy.double().cpu().numpy().reshape(-1, 4)[best_first]
        labels = detections.class_id.cpu().numpy()[best_first]
        outcome = match(boxes, labels, truth)
        matched.append((outcome, labels, scores[best_first], np.full(len(labels), i)))
        np.add.at(positives[:, i], truth.labels[~truth.ignored], 1)
    outcome, label, confidence, image = map(np.concatenate, zip(*matched, strict=True))
    ranked: dict[str, Ranked] = {}
    for c, name in enumerate(dataset.classes):
        chosen = np.flatnonzero((label == c) & (outcome != IGNORED))
        chosen = chosen[np.argsort(-confidence[chosen], kind="stable")]
        tp = (outcome[chosen] == TRUE)[None]
        ranked[name] = Ranked(tp, ~tp, image[chosen], positives[c])
    return ranked


def voc_map(predictions: Sequence[Detections], dataset: DetectionSet) -> VocScore:
    """Score the detections of a whole dataset.

    Args:
        predictions: One Detections per image, in the order of `dataset.samples`: boxes in pixels of
            the image, and class_id an index of `dataset.classes` (see `relabel` for a network with
            other classes).
        dataset: The images and their objects.

    Raises:
        ValueError: The number of predictions is not that of the images.
    """
    ranked = rank(predictions, dataset)
    once = np.ones((1, len(dataset)), np.int64)
    npos = {name: int(one.positives.sum()) for name, one in ranked.items()}
    area: dict[str, float] = {}
    eleven_points: list[float] = []
    for name, one in ranked.items():
        if npos[name]:
            area[name] = one.average_precision(once, "area").item()
            eleven_points.append(one.average_precision(once, "11 points").item())
    mAP_area = mAP_07 = float("nan")
    if area:
        mAP_area = float(np.mean(list(area.values())))
        mAP_07 = float(np.mean(eleven_points))
    return VocScore(mAP_area, mAP_07, area, npos, ranked)


def relabel(detections: Detections, index: Sequence[int]) -> Detections:
    """Replace class_id by index[class_id]; detections whose new class is -1 are dropped."""
    class_id = detections.class_id.new_tensor(index)[detections.class_id]
    return replace(detections, class_id=class_id).take(class_id >= 0)
