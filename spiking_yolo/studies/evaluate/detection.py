"""Detection as a task of the engine: images and boxes of a DetectionSet."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.datasets.coco import CocoSet, category_index
from spiking_yolo.datasets.detection import DetectionSet
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.yolo import detections
from spiking_yolo.errors import UserError
from spiking_yolo.io.images import Placement, preprocess
from spiking_yolo.metrics.voc import relabel
from spiking_yolo.models.spec import Spec
from spiking_yolo.studies.evaluate.early_exit import same_detections

BoxRecord = dict[str, list[Any]]  # {"xyxy": [[x1, y1, x2, y2]], "confidence": [...], "class_id": [...]}


class DetectionTask:
    """Boxes at the thresholds of an evaluation, every class above `conf`, classes as indices of `dataset.classes`.

    exit_conf: the boxes that decide about early exit are those above this confidence.
    Raises UserError when the network is no detector or does not know a class of the dataset.
    """

    def __init__(
        self,
        spec: Spec,
        dataset: DetectionSet,
        conf: float = 0.001,
        iou: float = 0.45,
        max_det: int = 100,
        exit_conf: float = 0.25,
    ):
        if spec.task != "detect":
            raise UserError("this network is a classifier, which finds no boxes: score it by --metric accuracy")
        if not len(dataset):
            raise UserError(f"{dataset.name} has no images: pass a split with images")
        self.spec, self.dataset = spec, dataset
        self.thresholds = {"conf": conf, "iou": iou, "max_det": max_det, "exit_conf": exit_conf}
        self.classes = class_map(dataset, spec.names)

    def __len__(self) -> int:
        return len(self.dataset)

    def load(self, index: int) -> tuple[Tensor, Placement]:
        return preprocess(self.dataset.samples[index].image(), self.spec)

    def predict(self, outputs: Sequence[Tensor], contexts: Sequence[Placement]) -> list[BoxRecord]:
        # Classes that the dataset lacks must not take the places of others.
        unlimited = len(self.spec.names) * sum(o[0].numel() for o in outputs)
        conf, iou, max_det, _ = self.thresholds.values()
        by_image = detections(outputs, self.spec, contexts, conf, iou, unlimited, multi_label=True)
        return [to_json(relabel(boxes, self.classes).take(slice(max_det))) for boxes in by_image]

    def same(self, a: BoxRecord, b: BoxRecord) -> bool:
        return same_detections(self._visible(from_json(a)), self._visible(from_json(b)))

    def _visible(self, boxes: Detections) -> Detections:
        return boxes.take(boxes.confidence > self.thresholds["exit_conf"])


def class_map(dataset: DetectionSet, names: Sequence[str]) -> tuple[int, ...]:
    """For each class of the network its index in `dataset.classes`, -1 where the dataset lacks it."""
    if isinstance(dataset, CocoSet):
        categories = dataset.annotations["categories"]
    else:
        categories = [{"id": i, "name": n} for i, n in zip(dataset.category_ids, dataset.classes, strict=True)]
    position = {c: i for i, c in enumerate(dataset.category_ids)}
    return tuple(position.get(c, -1) for c in category_index(categories, names))


def to_json(boxes: Detections) -> BoxRecord:
    """float32 as the shortest decimal that reads back as the same float32."""
    return {
        "xyxy": [[float(str(v)) for v in box] for box in boxes.xyxy.numpy()],
        "confidence": [float(str(v)) for v in boxes.confidence.numpy()],
        "class_id": boxes.class_id.tolist(),
    }


def from_json(boxes: BoxRecord) -> Detections:
    xyxy = torch.from_numpy(np.array(boxes["xyxy"], np.float32).reshape(-1, 4))
    return Detections(xyxy, torch.tensor(boxes["confidence"]), torch.tensor(boxes["class_id"], dtype=torch.int64))
