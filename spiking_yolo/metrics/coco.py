"""COCO's metrics by pycocotools, or by faster-coco-eval, which gives the same numbers faster."""

import contextlib
import importlib.util
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torchvision.ops import box_convert

from spiking_yolo.decode.boxes import Detections

Backend = Literal["auto", "pycocotools", "faster"]
FIGURES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
FIGURES += ("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large")


@dataclass(frozen=True, eq=False)
class CocoScore:
    """COCO's twelve numbers as fractions, -1 where there is nothing to measure.

    stats: by the names of FIGURES. per_class, per_class_50: AP and AP50 by category name, for
    categories with objects. objects: how many these have, crowds not counted. precision: [10 IoU
    thresholds, 101 recalls, categories] at all areas and 100 detections, -1 for categories without
    objects.
    """

    stats: dict[str, float]
    per_class: dict[str, float]
    per_class_50: dict[str, float]
    objects: dict[str, int]
    precision: np.ndarray

    def curve(self, iou: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
        """(recall [101], precision [101]) at one IoU threshold: the mean over categories with
        objects.
        """
        at = self.precision[round((iou - 0.5) / 0.05)]
        known = at[:, (at > -1).all(0)]
        return np.linspace(0, 1, 101), known.mean(1) if known.shape[1] else np.zeros(101)


def to_coco(
    detections: Detections, image_id: int, category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Detections of one image as rows of a COCO results file, unrounded.

    category_ids: the category of each class of the network (`category_index`); -1, a category that
    the dataset lacks, drops the class.
    """
    boxes = box_convert(detections.xyxy.double(), "xyxy", "xywh").tolist()
    rows = zip(boxes, detections.confidence.tolist(), detections.class_id.tolist(), strict=True)
    return [
        {"image_id": image_id, "category_id": category_ids[c], "bbox": box, "score": score}
        for box, score, c in rows
        if category_ids[c] >= 0
    ]


def coco_score(
    gt: dict[str, Any],
    predictions: list[dict[str, Any]],
    image_ids: Iterable[int] | None = None,
    backend: Backend = "auto",
) -> CocoScore:
    """Score boxes by COCO's rules.

    gt: the content of an annotation file. predictions: rows of `to_coco` for images of `gt`.
    image_ids: the images that count, by default all of `gt`; predictions for others are ignored.
    backend: "auto" takes faster-coco-eval where it is installed. Changes no argument and prints
    nothing. Raises ValueError for an image that is not in `gt`.
    """
    if backend == "auto":
        backend = "faster" if importlib.util.find_spec("faster_coco_eval") else "pycocotools"
    run = evaluator(gt, predictions, image_ids, backend)
    with contextlib.redirect_stdout(io.StringIO()):
        run.evaluate()
        run.accumulate()
        run.summarize()
    stats = {name: float(value) for name, value in zip(FIGURES, run.stats[:12], strict=True)}
    precision = np.asarray(run.eval["precision"])[..., 0, -1]
    names = [category["name"] for category in run.cocoGt.loadCats(run.params.catIds)]
    known = {
        name: p
        for name, p in zip(names, np.moveaxis(precision, 2, 0), strict=True)
        if (p > -1).all()
    }
    per_class = {name: float(p.mean()) for name, p in known.items()}
    per_class_50 = {name: float(p[0].mean()) for name, p in known.items()}
    ids, scored = dict(zip(names, run.params.catIds, strict=True)), set(run.params.imgIds)
    counted = (o for o in gt["annotations"] if o["image_id"] in scored and not o.get("iscrowd"))
    objects = Counter(o["category_id"] for o in counted)
    return CocoScore(
        stats, per_class, per_class_50, {name: objects[ids[name]] for name in known}, precision
    )


def evaluator(
    gt: dict[str, Any],
    predictions: list[dict[str, Any]],
    image_ids: Iterable[int] | None,
    backend: Literal["pycocotools", "faster"],
) -> Any:
    """A COCOeval of the chosen library, ready to run on the images that count."""
    if backend == "faster":
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as COCOeval
    else:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

    def index(content: dict[str, Any]) -> Any:
        coco: Any = COCO()
        coco.dataset = content
        coco.createIndex()
        return coco

    content = complete(gt)
    known = {image["id"] for image in content["images"]}
    chosen = known if image_ids is None else set(image_ids)
    if strange := (chosen | {row["image_id"] for row in predictions}) - known:
        raise ValueError(f"image {min(strange)} is not among the {len(known)} annotated images")
    rows = [
        {**row, "id": n, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
        for n, row in enumerate((row for row in predictions if row["image_id"] in chosen), 1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(index(content), index({**content, "annotations": rows}), "bbox")
    run.params.imgIds = sorted(chosen)
    return run


def complete(gt: dict[str, Any]) -> dict[str, Any]:
    """A copy with what the libraries expect: info, iscrowd, area, and ids from 1.

    They mark a match by the object's id, so an object with id 0 would never count as detected.
    """
    annotations = [
        {"iscrowd": 0, "area": a["bbox"][2] * a["bbox"][3], **a} for a in gt["annotations"]
    ]
    ids = {a.get("id", 0) for a in annotations}
    if len(ids) < len(annotations) or min(ids, default=1) < 1:
        annotations = [{**a, "id": n} for n, a in enumerate(annotations, 1)]
    return {"info": {}, **gt, "annotations": annotations}
