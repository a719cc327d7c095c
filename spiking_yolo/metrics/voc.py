"""Mean average precision by the rules of the PASCAL VOC development kit (VOCevaldet.m).

Differences from COCO: IoU counts pixels inclusively (width = x2 - x1 + 1). A detection is compared
only with the object that it overlaps most, so a second detection of an object is false even when it
also overlaps an unmatched one. IoU >= 0.5 matches (py-faster-rcnn's copy needs more than 0.5).
Detections of difficult objects are neither true nor false. Equal confidences rank in input order.
Classes without objects are left out of the mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from spiking_yolo.data.detection import DetectionSet, Sample
from spiking_yolo.decode.boxes import Detections

Mode = Literal["area", "11point"]


def envelope(hits: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Interpolated precision [..., n]: at each rank, the best precision at that or any later rank.

    Args:
        hits: Cumulative counts of true positives, [..., n].
        shown: Cumulative counts of all detections, [..., n].
    """
    precision = hits / np.maximum(shown, 1)
    return np.maximum.accumulate(precision[..., ::-1], -1)[..., ::-1]


def average_precision(
    tp_ranked: np.ndarray,
    npos: int | np.ndarray,
    mode: Mode = "area",
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Average precision of detections ranked best first.

    Recall is compared with k/10 in integers, hence exactly: three of ten objects reach 0.3, but not
    the float 0.30000000000000004.

    Args:
        tp_ranked: Whether each detection is a true positive, bool [n].
        npos: Number of objects; [m] with weights of m resamplings.
        mode: "area" under the interpolated curve (VOC 2010 on), or "11point", the mean interpolated
            precision at recall 0, 0.1, ..., 1 (VOC 2007).
        weights: How often each detection counts, [n], or [m, n] for m resamplings at once.

    Returns:
        AP as a fraction; nan where npos is 0.
    """
    tp = np.asarray(tp_ranked, dtype=bool)
    if weights is None:
        weights = np.ones(len(tp), dtype=np.int64)
    hits = np.cumsum(weights * tp, -1)
    positives = np.asarray(npos)[..., None]
    divisor = np.maximum(positives, 1)
    if mode == "area":
        recall_steps = weights * tp / divisor
    else:
        recall_steps = np.diff(hits * 10 // divisor + 1, prepend=0) / 11
    ap = (envelope(hits, np.cumsum(weights, -1)) * recall_steps).sum(-1)
    return np.where(positives[..., 0] > 0, ap, np.nan)


TRUE, FALSE, IGNORED = 1, 0, -1


@dataclass(frozen=True, eq=False)
class Ranked:
    """The detections of one class over all images, best first; ignored ones are left out.

    Attributes:
        tp: Whether each is a true positive, bool [n].
        image: Position of each one's image in the dataset, int64 [n].
        confidence: float [n].
        positives: Objects of the class per image, difficult ones not counted, int64 [images].
    """

    tp: np.ndarray
    image: np.ndarray
    confidence: np.ndarray
    positives: np.ndarray


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


def match(boxes: np.ndarray, labels: np.ndarray, truth: Sample, min_iou: float = 0.5) -> np.ndarray:
    """Match the detections of one image with its objects.

    Args:
        boxes: xyxy, best first, float [n, 4].
        labels: int [n].
        truth: The image's objects.
        min_iou: Smallest IoU of a match.

    Returns:
        TRUE, FALSE or IGNORED for each detection, int [n].
    """
    outcome = np.full(len(boxes), FALSE)
    if not len(boxes) or not len(truth.boxes):
        return outcome
    iou = np.where(labels[:, None] == truth.labels[None], inclusive_iou(boxes, truth.boxes), -1.0)
    best = iou.argmax(1)
    over = np.flatnonzero(iou.max(1) >= min_iou)
    # Later detections of an object are duplicates.
    _, first = np.unique(best[over], return_index=True)
    outcome[over[first]] = TRUE
    outcome[over[truth.ignored[best[over]]]] = IGNORED
    return outcome


def rank(
    predictions: Sequence[Detections], dataset: DetectionSet, min_iou: float = 0.5
) -> dict[str, Ranked]:
    """Match every image and rank the detections of each class; arguments as in `voc_map`."""
    if len(predictions) != len(dataset):
        raise ValueError(
            f"{len(predictions)} predictions for the {len(dataset)} images of {dataset.name}"
        )
    dataset = dataset.indexed()
    no_detections = np.zeros(0, np.int64)
    matched = [(no_detections, no_detections, no_detections, no_detections)]
    positives = np.zeros((len(dataset.classes), len(dataset)), np.int64)
    for i, (detections, truth) in enumerate(zip(predictions, dataset.samples, strict=True)):
        scores = detections.confidence.double().cpu().numpy()
        best_first = np.argsort(-scores, kind="stable")
        boxes = detections.xyxy.double().cpu().numpy().reshape(-1, 4)[best_first]
        labels = detections.class_id.cpu().numpy()[best_first]
        outcome = match(boxes, labels, truth, min_iou)
        matched.append((outcome, labels, scores[best_first], np.full(len(labels), i)))
        np.add.at(positives[:, i], truth.labels[~truth.ignored], 1)
    outcome, label, confidence, image = map(np.concatenate, zip(*matched, strict=True))
    ranked = {}
    for c, name in enumerate(dataset.classes):
        chosen = np.flatnonzero((label == c) & (outcome != IGNORED))
        chosen = chosen[np.argsort(-confidence[chosen], kind="stable")]
        tp = outcome[chosen] == TRUE
        ranked[name] = Ranked(tp, image[chosen], confidence[chosen], positives[c])
    return ranked


def voc_map(
    predictions: Sequence[Detections], dataset: DetectionSet, min_iou: float = 0.5
) -> VocScore:
    """Score the detections of a whole dataset.

    Args:
        predictions: One Detections per image, in the order of `dataset.samples`: boxes in pixels of
            the image, and class_id an index of `dataset.classes` (see `relabel` for a network with
            other classes).
        dataset: The images and their objects.
        min_iou: Smallest IoU of a match.

    Raises:
        ValueError: The number of predictions is not that of the images.
    """
    ranked = rank(predictions, dataset, min_iou)
    npos: dict[str, int] = {}
    area: dict[str, float] = {}
    eleven_point: list[float] = []
    for name, detections in ranked.items():
        count = npos[name] = int(detections.positives.sum())
        if not count:
            continue
        tp = detections.tp
        area[name] = float(average_precision(tp, count))
        eleven_point.append(float(average_precision(tp, count, "11point")))
    mAP_area = mAP_07 = float("nan")
    if area:
        mAP_area = float(np.mean(list(area.values())))
        mAP_07 = float(np.mean(eleven_point))
    return VocScore(mAP_area, mAP_07, area, npos, ranked)


def relabel(detections: Detections, index: Sequence[int]) -> Detections:
    """Replace class_id by index[class_id]; detections whose new class is -1 are dropped."""
    class_id = detections.class_id.new_tensor(index)[detections.class_id]
    return replace(detections, class_id=class_id).take(class_id >= 0)
