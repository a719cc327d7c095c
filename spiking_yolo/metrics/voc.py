"""Mean average precision by the rules of the PASCAL VOC development kit (VOCevaldet.m).

Differences from COCO: IoU counts pixels inclusively (width = x2 - x1 + 1). A detection is compared
only with the object that it overlaps most, so a second detection of an object is false even when it
also overlaps an unmatched one. IoU >= 0.5 matches (py-faster-rcnn's copy needs more than 0.5).
Detections of difficult objects are neither true nor false. Equal confidences rank in input order.
Classes without objects are left out of the mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from spiking_yolo.data.detection import DetectionSet, Sample
from spiking_yolo.decode.boxes import Detections

Mode = Literal["area", "11point"]


def envelope(hits: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Interpolated precision [..., n]: at each rank, the best precision at that or any later rank.

    hits, shown: cumulative counts [..., n] of true positives and of all detections.
    """
    precision = hits / np.maximum(shown, 1)
    return np.maximum.accumulate(precision[..., ::-1], -1)[..., ::-1]


def average_precision(
    tp_ranked: np.ndarray,
    npos: int | np.ndarray,
    mode: Mode = "area",
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """AP of a list ranked best first; nan where npos is 0.

    tp_ranked: bool [n], True for a true positive, False for a false one. npos: number of objects.
    mode: "area" under the interpolated curve (VOC 2010 on), or "11point", the mean interpolated
    precision at recall 0, 0.1, ..., 1 (VOC 2007). Recall is compared with k/10 in integers, hence
    exactly: three of ten objects reach 0.3, but not the float 0.30000000000000004. weights: how
    often each detection counts, [n], or [m, n] for m resamplings at once; npos is then [m].
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


TRUE, FALSE, IGNORED = 1, 0, -1


@dataclass(frozen=True, eq=False)
class Ranked:
    """The detections of one class over all images, best first; ignored ones are left out.

    tp: bool [n]. image: int64 [n], position of the detection's image in the dataset. confidence:
    float [n]. positives: int64 [images], objects of the class per image, difficult ones not
    counted.
    """

    tp: np.ndarray
    image: np.ndarray
    confidence: np.ndarray
    positives: np.ndarray


@dataclass(frozen=True, eq=False)
class VocScore:
    """mAP as a fraction: mAP_area (VOC 2010 on) and mAP_07 (11-point, VOC 2007); nan when no class
    has objects.

    per_class: AP (area) of each class that has objects. npos: objects per class, difficult ones not
    counted. curves: class -> (recall [n], interpolated precision [n]). ranked: what `bootstrap`
    resamples.
    """

    mAP_area: float
    mAP_07: float
    per_class: dict[str, float]
    npos: dict[str, int]
    curves: dict[str, tuple[np.ndarray, np.ndarray]]
    ranked: dict[str, Ranked]


def inclusive_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU [n, m] of xyxy boxes [n, 4] and [m, 4] whose corners are their first and last pixels."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low + 1, 0, None).prod(-1)
    area_a, area_b = ((box[:, 2:] - box[:, :2] + 1).prod(-1) for box in (a, b))
    return inter / (area_a[:, None] + area_b[None] - inter)


def match(boxes: np.ndarray, labels: np.ndarray, truth: Sample, min_iou: float = 0.5) -> np.ndarray:
    """TRUE, FALSE or IGNORED for each detection of one image: int [n].

    boxes: float [n, 4] and labels: int [n], best first. truth: its objects.
    """
    outcome = np.full(len(boxes), FALSE)
    if not len(boxes) or not len(truth.boxes):
        return outcome
    iou = np.where(labels[:, None] == truth.labels[None], inclusive_iou(boxes, truth.boxes), -1.0)
    best = iou.argmax(1)
    over = np.flatnonzero(iou.max(1) >= min_iou)
    _, first = np.unique(best[over], return_index=True)  # later ones are duplicates
    outcome[over[first]] = TRUE
    outcome[over[truth.ignored[best[over]]]] = IGNORED
    return outcome


def rank(
    predictions: Sequence[Detections], dataset: DetectionSet, min_iou: float = 0.5
) -> dict[str, Ranked]:
    """Match every image and rank the detections of each class. Arguments as in `voc_map`."""
    if len(predictions) != len(dataset):
        raise ValueError(
            f"{len(predictions)} predictions for the {len(dataset)} images of {dataset.name}"
        )
    dataset = dataset.indexed()
    matched = [(np.zeros(0, np.int64),) * 4]
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
        ranked[name] = Ranked(
            outcome[chosen] == TRUE, image[chosen], confidence[chosen], positives[c]
        )
    return ranked


def voc_map(
    predictions: Sequence[Detections], dataset: DetectionSet, min_iou: float = 0.5
) -> VocScore:
    """Score the detections of a whole dataset.

    predictions: one Detections per image, in the order of `dataset.samples`, boxes in pixels of the
    image and class_id an index of `dataset.classes` (see `relabel` for a network with other
    classes).
    """
    ranked = rank(predictions, dataset, min_iou)
    npos = {name: int(r.positives.sum()) for name, r in ranked.items()}
    known = [name for name in ranked if npos[name]]
    area, eleven = (
        {name: float(average_precision(ranked[name].tp, npos[name], mode)) for name in known}
        for mode in ("area", "11point")
    )
    curves = {name: _curve(ranked[name].tp, npos[name]) for name in known}
    return VocScore(_mean(area), _mean(eleven), area, npos, curves, ranked)


def best_f1(ranked: Mapping[str, Ranked]) -> tuple[float, float]:
    """Precision and recall, fractions, of all classes together, at the confidence that gives the
    largest F1.

    Without detections both are 0. Raises ValueError where there are no objects.
    """
    objects = sum(int(r.positives.sum()) for r in ranked.values())
    if not objects:
        raise ValueError("there are no objects to find")
    confidence = np.concatenate([r.confidence for r in ranked.values()])
    if not len(confidence):
        return 0.0, 0.0
    best_first = np.argsort(-confidence, kind="stable")
    hits = np.cumsum(np.concatenate([r.tp for r in ranked.values()])[best_first])
    # A threshold cannot part equal ones.
    ends = np.flatnonzero(np.diff(confidence[best_first], append=-np.inf))
    hits, shown = hits[ends], ends + 1
    best = (2 * hits / (shown + objects)).argmax()
    return float(hits[best] / shown[best]), float(hits[best] / objects)


def _mean(per_class: dict[str, float]) -> float:
    return float(np.mean(list(per_class.values()))) if per_class else float("nan")


def _curve(tp: np.ndarray, npos: int) -> tuple[np.ndarray, np.ndarray]:
    hits = np.cumsum(tp)
    return hits / npos, envelope(hits, np.arange(1, len(tp) + 1))


def relabel(detections: Detections, index: Sequence[int]) -> Detections:
    """Detections with class_id replaced by index[class_id]; those whose new class is -1 are
    dropped.
    """
    class_id = detections.class_id.new_tensor(index)[detections.class_id]
    return replace(detections, class_id=class_id).take(class_id >= 0)
