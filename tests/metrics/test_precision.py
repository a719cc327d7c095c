"""The COCO scorer on twelve known figures; the VOC scorer against worked numbers and a second,
loop-by-loop implementation of the devkit's rule.
"""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.coco import EXPECTED, FOUND, OBJECTS, ground_truth
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.data.datasets import DetectionSet, Sample
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.metrics.precision import (
    CocoScore,
    Ranked,
    Rule,
    coco_score,
    inclusive_iou,
    match,
    relabel,
    to_coco,
    voc_map,
)


def predictions() -> list[dict[str, Any]]:
    return [{"image_id": i, "category_id": c, "bbox": box, "score": s} for i, c, *box, s in FOUND]


def figures(score: CocoScore) -> list[float]:
    return list(score.stats.values())


def test_the_twelve_figures() -> None:
    score = coco_score(ground_truth(), predictions())
    assert [round(value, 6) for value in figures(score)] == EXPECTED
    assert list(score.stats)[:3] == ["AP", "AP50", "AP75"]
    ap50 = {"person": 0.915842, "dog": 0.752475, "toothbrush": 1.0}
    assert score.per_class == pytest.approx(ap50, abs=1e-6)


def test_no_detections_and_no_objects() -> None:
    assert figures(coco_score(ground_truth(), [])) == [0.0] * 12
    empty = {**ground_truth(), "annotations": []}
    assert figures(coco_score(empty, predictions())) == [-1.0] * 12


def test_categories_without_objects_have_no_score() -> None:
    """Image 3 alone: no person, whose false detection therefore costs nothing."""
    gt = ground_truth([one for one in OBJECTS if one[0] == 3])
    gt["images"] = gt["images"][2:]
    rows = [row for row in predictions() if row["image_id"] == 3]
    score = coco_score(gt, rows)
    assert set(score.per_class) == {"dog", "toothbrush"}
    assert score.objects == {"dog": 1, "toothbrush": 1}
    assert score.stats["AP50"] == pytest.approx(np.mean(list(score.per_class.values())))
    # More than ten boxes of a class count: the right one comes behind eleven others.
    rows += [{"image_id": 3, "category_id": 90, "bbox": [0, 0, 9, 9], "score": 0.9}] * 11
    assert coco_score(gt, rows).per_class["toothbrush"] == pytest.approx(1 / 12)


def test_rows_are_not_rounded_and_foreign_classes_are_dropped() -> None:
    found = Detections(
        torch.tensor([[0.1, 0.2, 10.35, 20.45], [1, 1, 2, 2]]),
        torch.tensor([0.123456, 0.1]),
        torch.tensor([1, 0]),
    )
    (row,) = to_coco(found, 7, (-1, 0))
    assert (row["image_id"], row["category_id"]) == (7, 0)
    np.testing.assert_allclose(row["bbox"], [0.1, 0.2, 10.25, 20.25], rtol=1e-6)
    assert row["score"] == pytest.approx(0.123456, rel=1e-6)
    assert json.loads(json.dumps(row)) == row
    none = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert to_coco(none, 1, (1,)) == []


def truth(
    boxes: list, labels: list[int] | None = None, difficult: list[bool] | None = None, name: int = 0
) -> Sample:
    labels = [0] * len(boxes) if labels is None else labels
    return Sample.of(name, Path(f"{name}.jpg"), (200, 200), boxes, labels, difficult)


def found(boxes: list, confidence: list[float], labels: list[int] | None = None) -> Detections:
    labels = [0] * len(boxes) if labels is None else labels
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(confidence, dtype=torch.float32),
        torch.tensor(labels, dtype=torch.int64),
    )


def of(samples: list[Sample], classes: tuple[str, ...] = ("thing",)) -> DetectionSet:
    return DetectionSet("test", classes, samples, [])


def average_precision(tp: list[bool] | list[int], npos: int, rule: Rule) -> float:
    """Of detections of one image."""
    right = np.array(tp, bool)[None]
    one = Ranked(right, ~right, np.zeros(len(tp), int), np.array([npos]))
    return one.average_precision(np.ones((1, 1), int), rule).item()


def test_average_precision_of_worked_lists() -> None:
    for tp, npos, eleven, area in [
        ([1, 1, 0, 1, 0, 0, 1, 0], 5, 0.6948051948, 0.6642857143),
        ([1, 0, 1, 0, 1], 3, 0.7636363636, 0.7555555556),
        ([1, 1, 0, 0, 1, 0, 1, 1, 0, 0], 8, 0.5, 0.484375),
        ([0, 1], 1, 0.5, 0.5),
        ([1, 1, 1, 1], 4, 1.0, 1.0),
        ([], 3, 0.0, 0.0),
        ([0, 0], 3, 0.0, 0.0),
    ]:
        assert average_precision(tp, npos, "11 points") == pytest.approx(eleven, abs=1e-9)
        assert average_precision(tp, npos, "area") == pytest.approx(area, abs=1e-9)


def plain_ap(tp: list[bool], npos: int) -> tuple[Fraction, Fraction]:
    """(11-point, area) in exact arithmetic, from the definition by thresholds and by recall
    steps.
    """
    points = []
    for i in range(len(tp)):
        hits = sum(tp[: i + 1])
        points.append((Fraction(hits, npos), Fraction(hits, i + 1)))

    def best(recall: Fraction) -> Fraction:
        return max((p for r, p in points if r >= recall), default=Fraction(0))

    eleven = sum((best(Fraction(k, 10)) for k in range(11)), Fraction(0)) / 11
    area = sum((best(Fraction(k, npos)) for k in range(1, npos + 1)), Fraction(0)) / npos
    return eleven, area


@given(st.lists(st.booleans(), max_size=25), st.integers(0, 20))
def test_average_precision_against_its_definition(tp: list[bool], missed: int) -> None:
    npos = max(sum(tp) + missed, 1)
    eleven, area = plain_ap(tp, npos)
    for rule, expected in (("11 points", eleven), ("area", area)):
        found = average_precision(tp, npos, rule)
        assert found == pytest.approx(float(expected), abs=1e-12)


def test_iou_counts_both_border_pixels() -> None:
    a = np.array([[0.0, 0, 9, 9]])
    b = np.array([[5.0, 0, 14, 9], [0, 0, 9, 4], [9, 9, 20, 20], [10, 0, 12, 9]])
    np.testing.assert_allclose(inclusive_iou(a, b), [[50 / 150, 50 / 100, 1 / (100 + 144 - 1), 0]])


def test_exactly_half_matches() -> None:
    half = np.array([[0.0, 0, 9, 4]])  # 50 of 100 pixels
    assert match(half, np.array([0]), truth([(0, 0, 9, 9)])).tolist() == [1]
    assert match(half - [0, 0, 0, 0.1], np.array([0]), truth([(0, 0, 9, 9)])).tolist() == [0]


def test_the_mean_leaves_out_classes_without_objects() -> None:
    image = truth([(0, 0, 9, 9), (50, 50, 59, 59)], [0, 2])
    on = found([(0, 0, 9, 9), (90, 90, 99, 99)], [0.9, 0.8], [0, 1])
    score = voc_map([on], of([image], ("a", "b", "c")))
    assert score.per_class == {"a": 1.0, "c": 0.0}
    assert score.npos == {"a": 1, "b": 0, "c": 1}
    assert score.mAP_area == 0.5


def test_equal_confidences_rank_in_input_order() -> None:
    one, two = found([(0, 0, 9, 9)], [0.5]), found([(90, 90, 99, 99)], [0.5])
    samples = [truth([(0, 0, 9, 9)]), truth([], name=1)]
    assert voc_map([one, two], of(samples)).mAP_area == 1.0
    assert voc_map([two, one], of(samples[::-1])).mAP_area == 0.5


def test_labels_are_read_through_the_category_ids() -> None:
    image = truth([(0, 0, 9, 9)], [18])
    data = DetectionSet("coco", ("person", "dog"), [image], [], (1, 18))
    assert voc_map([found([(0, 0, 9, 9)], [0.9], [1])], data).per_class == {"dog": 1.0}


def test_relabel_drops_unknown_classes() -> None:
    three = found([(0, 0, 1, 1), (0, 0, 2, 2), (0, 0, 3, 3)], [0.9, 0.8, 0.7], [0, 1, 2])
    moved = relabel(three, (5, -1, 0))
    assert moved.class_id.tolist() == [5, 0]
    np.testing.assert_allclose(moved.confidence, [0.9, 0.7])
    assert moved.xyxy[1].tolist() == [0, 0, 3, 3]


def devkit_ap(predictions: list[Detections], samples: list[Sample], label: int) -> float | None:
    """The devkit's loop over the ranked detections of all images, written as it reads; area AP."""
    rows = [
        (float(d.confidence[j]), i, d.xyxy[j].double().tolist())
        for i, d in enumerate(predictions)
        for j in range(len(d))
        if d.class_id[j] == label
    ]
    rows.sort(key=lambda row: -row[0])
    npos = sum(int(((s.labels == label) & ~s.ignored).sum()) for s in samples)
    taken: set[tuple[int, int]] = set()
    tp = []
    for _, i, (x1, y1, x2, y2) in rows:
        sample, best, which = samples[i], -1.0, -1
        for j, (u1, v1, u2, v2) in enumerate(sample.boxes.tolist()):
            if sample.labels[j] != label:
                continue
            w, h = min(x2, u2) - max(x1, u1) + 1, min(y2, v2) - max(y1, v1) + 1
            if w <= 0 or h <= 0:
                continue
            union = (x2 - x1 + 1) * (y2 - y1 + 1) + (u2 - u1 + 1) * (v2 - v1 + 1) - w * h
            if w * h / union > best:
                best, which = w * h / union, j
        if best >= 0.5:
            if not sample.ignored[which]:
                tp.append((i, which) not in taken)
                taken.add((i, which))
        else:
            tp.append(False)
    return float(plain_ap(tp, npos)[1]) if npos else None


@given(st.integers(0, 10**6))
def test_against_the_devkit_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predictions, samples = [], []
    for i in range(4):
        n, m = rng.integers(0, 6), rng.integers(0, 12)
        corner, side = rng.integers(0, 30, (n, 2)), rng.integers(10, 40, (n, 2))
        boxes = np.hstack([corner, corner + side]).astype(float)
        samples.append(
            truth(boxes.tolist(), rng.integers(0, 3, n).tolist(), (rng.random(n) < 0.3).tolist(), i)
        )
        near = boxes[rng.integers(0, n, m)] + rng.integers(-6, 7, (m, 4)) if n else np.zeros((0, 4))
        scores = rng.integers(0, 8, len(near)) / 8  # many ties
        predictions.append(
            found(near.tolist(), scores.tolist(), rng.integers(0, 3, len(near)).tolist())
        )
    score = voc_map(predictions, of(samples, ("a", "b", "c")))
    # Within an image the loop must see ties in the same order; sorting is stable in both.
    expected = {name: devkit_ap(predictions, samples, c) for c, name in enumerate("abc")}
    known = {k: v for k, v in expected.items() if v is not None}
    assert score.per_class == pytest.approx(known, abs=1e-12)
