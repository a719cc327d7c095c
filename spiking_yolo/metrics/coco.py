"""COCO's metrics by pycocotools."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import box_convert

from spiking_yolo.decode.boxes import Detections

FIGURES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
FIGURES += ("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large")


@dataclass(frozen=True, eq=False)
class CocoScore:
    """COCO's twelve numbers as fractions, -1 where there is nothing to measure.

    Attributes:
        stats: By the names of FIGURES.
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
    # At an IoU of 0.5, of all areas, with 100 boxes per image: [recalls, categories].
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
