"""Detection as a task of the engine: images and boxes of a DetectionSet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from spiking_yolo.datasets.coco import CocoSet, category_index
from spiking_yolo.datasets.detection import DetectionSet
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.yolo import detections
from spiking_yolo.errors import UserError
from spiking_yolo.io.images import Placement, preprocess, read_image
from spiking_yolo.metrics.voc import relabel
from spiking_yolo.models.spec import Spec
from spiking_yolo.studies.evaluate.early_exit import same_detections

Boxes = dict[str, list[Any]]  # {"xyxy": [[x1, y1, x2, y2]], "confidence": [...], "class_id": [...]}


class DetectionTask:
    """Boxes at evaluation thresholds, every class above `conf`, classes as indices of `dataset.classes`.

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
            raise UserError("this network is a classifier, which finds no boxes: use tools/eval_classify.py")
        if not len(dataset):
            raise UserError(f"{dataset.name} has no images: pass a split with images")
        self.spec, self.dataset = spec, dataset
        self.conf, self.iou, self.max_det, self.exit_conf = conf, iou, max_det, exit_conf
        self.classes = class_map(dataset, spec.names)

    def __len__(self) -> int:
        return len(self.dataset)

    def load(self, index: int) -> tuple[Tensor, Placement]:
        sample = self.dataset.samples[index]
        image = read_image(sample.path)
        if image.shape[:2] == (sample.width, sample.height):  # annotated as stored, not as its EXIF tag turns it
            with Image.open(sample.path) as stored:
                image = read_image(np.asarray(stored.convert("RGB")))
        height, width = image.shape[:2]
        if (width, height) != (sample.width, sample.height):
            raise UserError(
                f"{sample.path} has {width}x{height} pixels and its annotation says {sample.width}x{sample.height}: "
                "annotate the image as it is"
            )
        return preprocess(image, self.spec)

    def predict(self, outputs: Sequence[Tensor], contexts: Sequence[Placement]) -> list[Boxes]:
        # Classes that the dataset lacks must not take the places of others.
        unlimited = len(self.spec.names) * sum(o[0].numel() for o in outputs)
        found = detections(outputs, self.spec, contexts, self.conf, self.iou, unlimited, multi_label=True)
        return [to_json(_first(relabel(one, self.classes), self.max_det)) for one in found]

    def same(self, a: Boxes, b: Boxes) -> bool:
        return same_detections(self._visible(from_json(a)), self._visible(from_json(b)))

    def _visible(self, found: Detections) -> Detections:
        return _first(found, int((found.confidence > self.exit_conf).sum()))


def class_map(dataset: DetectionSet, names: Sequence[str]) -> tuple[int, ...]:
    """For each class of the network its index in `dataset.classes`, -1 where the dataset lacks it."""
    if isinstance(dataset, CocoSet):
        categories = dataset.annotations["categories"]
    else:
        categories = [{"id": i, "name": n} for i, n in zip(dataset.category_ids, dataset.classes, strict=True)]
    position = {c: i for i, c in enumerate(dataset.category_ids)}
    return tuple(position.get(c, -1) for c in category_index(categories, names))


def to_json(found: Detections) -> Boxes:
    """float32 as the shortest decimal that reads back as the same float32."""
    return {
        "xyxy": [[float(str(v)) for v in box] for box in found.xyxy.numpy()],
        "confidence": [float(str(v)) for v in found.confidence.numpy()],
        "class_id": found.class_id.tolist(),
    }


def from_json(boxes: Boxes) -> Detections:
    xyxy = torch.from_numpy(np.array(boxes["xyxy"], np.float32).reshape(-1, 4))
    return Detections(xyxy, torch.tensor(boxes["confidence"]), torch.tensor(boxes["class_id"], dtype=torch.int64))


def _first(found: Detections, n: int) -> Detections:
    return Detections(found.xyxy[:n], found.confidence[:n], found.class_id[:n])
