"""The COCO scorer: twelve known figures, through our own rows and id mapping."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from helpers.coco import EXPECTED, FOUND, OBJECTS, ground_truth

from spiking_yolo.decode.boxes import Detections
from spiking_yolo.metrics.precision import CocoScore, coco_score, to_coco


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
    score = coco_score(gt, [row for row in predictions() if row["image_id"] == 3])
    assert set(score.per_class) == {"dog", "toothbrush"}
    assert score.objects == {"dog": 1, "toothbrush": 1}
    assert score.stats["AP50"] == pytest.approx(np.mean(list(score.per_class.values())))


def test_rows_are_not_rounded_and_foreign_classes_are_dropped() -> None:
    found = Detections(
        torch.tensor([[0.1, 0.2, 10.35, 20.45], [1, 1, 2, 2]]),
        torch.tensor([0.123456, 0.1]),
        torch.tensor([1, 0]),
    )
    (row,) = to_coco(found, 7, (-1, 44))
    assert (row["image_id"], row["category_id"]) == (7, 44)
    np.testing.assert_allclose(row["bbox"], [0.1, 0.2, 10.25, 20.25], rtol=1e-6)
    assert row["score"] == pytest.approx(0.123456, rel=1e-6)
    assert json.loads(json.dumps(row)) == row
    none = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert to_coco(none, 1, (1,)) == []
