"""COCO's metrics by pycocotools."""

import contextlib
import io
from collections import Counter
from collections.abc import Iterable, Sequence
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
        per_class: AP by category name, for categories with objects.
        per_class_50: The same of AP50.
        objects: Number of objects of these categories, crowds not counted.
    """

    stats: dict[str, float]
    per_class: dict[str, float]
    per_class_50: dict[str, float]
    objects: dict[str, int]


def to_coco(
    detections: Detections, image_id: int, category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Detections of one image as rows of a COCO results file, unrounded.

    Args:
        detections: Detections in the image.
        image_id: The image's id in the dataset.
        category_ids: The category of each class of the network (`category_index`); -1 drops a class
            that the dataset does not have.
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


def coco_score(
    gt: dict[str, Any], predictions: list[dict[str, Any]], image_ids: Iterable[int] | None = None
) -> CocoScore:
    """Score boxes by COCO's rules, without printing.

    Args:
        gt: The content of an annotation file.
        predictions: Rows of `to_coco` for images of `gt`.
        image_ids: The images that count, by default all of `gt`; predictions for other images are
            ignored.

    Raises:
        ValueError: An image is not in `gt`.
    """
    run = evaluator(gt, predictions, image_ids)
    with contextlib.redirect_stdout(io.StringIO()):
        run.evaluate()
        run.accumulate()
        run.summarize()
    stats = {name: float(value) for name, value in zip(FIGURES, run.stats[:12], strict=True)}
    precision = np.asarray(run.eval["precision"])[..., 0, -1]
    images = set(run.params.imgIds)
    counts: Counter[int] = Counter()
    for annotation in gt["annotations"]:
        if annotation["image_id"] in images and not annotation.get("iscrowd"):
            counts[annotation["category_id"]] += 1
    per_class: dict[str, float] = {}
    per_class_50: dict[str, float] = {}
    objects: dict[str, int] = {}
    for k, category in enumerate(run.cocoGt.loadCats(run.params.catIds)):
        of_category = precision[:, :, k]
        if (of_category > -1).all():
            name = category["name"]
            per_class[name] = float(of_category.mean())
            per_class_50[name] = float(of_category[0].mean())
            objects[name] = counts[category["id"]]
    return CocoScore(stats, per_class, per_class_50, objects)


def evaluator(
    gt: dict[str, Any], predictions: list[dict[str, Any]], image_ids: Iterable[int] | None
) -> Any:
    """A COCOeval, ready to run on the images that count."""

    def index(content: dict[str, Any]) -> Any:
        coco: Any = COCO()
        coco.dataset = content
        coco.createIndex()
        return coco

    content = complete(gt)
    annotated = {image["id"] for image in content["images"]}
    chosen = annotated if image_ids is None else set(image_ids)
    rows: list[dict[str, Any]] = []
    for row in predictions:
        image = row["image_id"]
        if image not in annotated:
            raise ValueError(f"image {image} is not among the {len(annotated)} annotated images")
        if image in chosen:
            area = row["bbox"][2] * row["bbox"][3]
            rows.append({**row, "id": len(rows) + 1, "area": area, "iscrowd": 0})
    if missing := chosen - annotated:
        raise ValueError(f"image {min(missing)} is not among the {len(annotated)} annotated images")
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(index(content), index({**content, "annotations": rows}), "bbox")
    run.params.imgIds = sorted(chosen)
    return run


def complete(gt: dict[str, Any]) -> dict[str, Any]:
    """A copy with what pycocotools expects: info, iscrowd, area, and ids from 1.

    It marks a match by the object's id, so an object with id 0 would never count as detected.
    """
    annotations: list[dict[str, Any]] = []
    ids: set[int] = set()
    for annotation in gt["annotations"]:
        area = annotation["bbox"][2] * annotation["bbox"][3]
        annotations.append({"iscrowd": 0, "area": area, **annotation})
        ids.add(annotation.get("id", 0))
    if len(ids) < len(annotations) or min(ids, default=1) < 1:
        for number, annotation in enumerate(annotations, 1):
            annotation["id"] = number
    return {"info": {}, **gt, "annotations": annotations}
