"""When an image may stop: its predictions have not changed for some steps."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from spiking_yolo.data.classification import LabelledSet
from spiking_yolo.data.coco import CocoSet, category_index
from spiking_yolo.data.detection import DetectionSet
from spiking_yolo.data.images import Placement, preprocess, read_image
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.classes import ranked
from spiking_yolo.decode.selection import Selection
from spiking_yolo.errors import UserError
from spiking_yolo.metrics.voc import relabel
from spiking_yolo.models.spec import Spec, numbered


def exit_step(predictions: Sequence[Any], same: Callable[[Any, Any], bool], patience: int) -> int:
    """The first step t, counted from 1, at which `patience` steps in a row agree with the one
    before them.

    predictions: one per timestep. A later one is compared with the first of its row, so slow drift
    is a change too. Without such a row: the last step.
    """
    first = 0
    for t in range(1, len(predictions)):
        if not same(predictions[first], predictions[t]):
            first = t
        elif t - first == patience:
            return t + 1
    return len(predictions)


def same_detections(
    a: Detections, b: Detections, iou: float = 0.9, confidence: float = 0.02
) -> bool:
    """Whether the boxes pair off: equal class, IoU above `iou`, confidence not further apart than
    `confidence`.

    Boxes of a class that survive suppression overlap too little for two of them to fit one box that
    well, so the best partner is the only one. Nothing found never counts as unchanged: a network
    that has not spiked yet goes on.
    """
    if len(a) != len(b) or len(a) == 0:
        return False
    fits = box_iou(a.xyxy, b.xyxy) > iou
    fits &= a.class_id[:, None] == b.class_id[None]
    fits &= (a.confidence[:, None] - b.confidence[None]).abs() <= confidence
    return bool(fits.any(0).all() and fits.any(1).all())


# {"xyxy": [[x1, y1, x2, y2]], "confidence": [...], "class_id": [...]}.
BoxRecord = dict[str, list[Any]]


class DetectionTask:
    """Boxes at the thresholds of an evaluation, every class above `conf`, classes as indices of
    `dataset.classes`.

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
            raise UserError(
                "this network is a classifier, which finds no boxes: score it by --metric accuracy"
            )
        if not len(dataset):
            raise UserError(f"{dataset.name} has no images: pass a split with images")
        self.spec, self.dataset = spec, dataset
        self.thresholds = {"conf": conf, "iou": iou, "max_det": max_det, "exit_conf": exit_conf}
        self.classes = detection_classes(dataset, spec.names)
        known = tuple(c for c, index in enumerate(self.classes) if index >= 0)
        self.selection = Selection(
            conf=conf, iou=iou, max_det=max_det, classes=known, multi_label=True
        )

    def __len__(self) -> int:
        return len(self.dataset)

    def load(self, index: int) -> tuple[Tensor, Placement]:
        return preprocess(self.dataset.samples[index].image(), self.spec)

    def predict(self, outputs: Sequence[Tensor], contexts: Sequence[Placement]) -> list[BoxRecord]:
        by_image = self.selection.boxes(outputs, self.spec, contexts)
        return [to_json(relabel(boxes, self.classes)) for boxes in by_image]

    def same(self, a: BoxRecord, b: BoxRecord) -> bool:
        return same_detections(self._visible(from_json(a)), self._visible(from_json(b)))

    def _visible(self, boxes: Detections) -> Detections:
        return boxes.take(boxes.confidence > self.thresholds["exit_conf"])


def detection_classes(dataset: DetectionSet, names: Sequence[str]) -> tuple[int, ...]:
    """For each class of the network its index in `dataset.classes`, -1 where the dataset
    lacks it.
    """
    if isinstance(dataset, CocoSet):
        categories = dataset.annotations["categories"]
    else:
        categories = [
            {"id": i, "name": n} for i, n in zip(dataset.category_ids, dataset.classes, strict=True)
        ]
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
    return Detections(
        xyxy, torch.tensor(boxes["confidence"]), torch.tensor(boxes["class_id"], dtype=torch.int64)
    )


# {"class_id": [...], "confidence": [...]}, the best first.
ClassRecord = dict[str, list[Any]]

KEPT = 5  # classes per image


class ClassificationTask:
    """The KEPT best classes as indices of `dataset.classes`, -1 for one that the dataset lacks, and
    their softmax.

    exit_conf: for early exit, an image goes on while its best class has no more than this
    confidence. Raises UserError when the network is no classifier or does not know a class of the
    dataset.
    """

    def __init__(self, spec: Spec, dataset: LabelledSet, exit_conf: float = 0.5):
        if spec.task != "classify":
            raise UserError(
                "this network is a detector, which gives images no class: score it by --metric coco"
                " or voc"
            )
        if not len(dataset):
            raise UserError(f"{dataset.name} has no images: pass a split with images")
        self.spec, self.dataset, self.thresholds = spec, dataset, {"exit_conf": exit_conf}
        self.classes = torch.tensor(classification_classes(dataset, spec.names))

    def __len__(self) -> int:
        return len(self.dataset)

    def load(self, index: int) -> tuple[Tensor, None]:
        return preprocess(read_image(self.dataset.pictures[index].source), self.spec)[0], None

    def predict(self, outputs: Sequence[Tensor], contexts: Sequence[None]) -> list[ClassRecord]:
        (logits,) = outputs
        best = ranked(logits, KEPT)
        confidence = logits.double().softmax(1).gather(1, best.clamp(min=0)).float()
        ours = torch.where(best < 0, -1, self.classes[best])
        return [
            {"class_id": ids, "confidence": [float(str(v)) for v in values]}
            for ids, values in zip(ours.tolist(), confidence.numpy(), strict=True)
        ]

    def same(self, a: ClassRecord, b: ClassRecord, confidence: float = 0.02) -> bool:
        """Whether both are as sure of one class. A guess never counts as unchanged: no spike may
        have arrived yet.
        """
        before, after = a["confidence"][0], b["confidence"][0]
        sure = (
            min(before, after) > self.thresholds["exit_conf"] and abs(before - after) <= confidence
        )
        return sure and a["class_id"][0] == b["class_id"][0]


def classification_classes(dataset: LabelledSet, names: Sequence[str]) -> tuple[int, ...]:
    """For each class of the network its index in `dataset.classes`, -1 where the dataset lacks it.

    Matched by name; a network whose classes have numbers only takes them in the dataset's order.
    """
    ours = {name: i for i, name in enumerate(dataset.classes)}
    if tuple(names) == numbered(len(ours)):
        return tuple(range(len(names)))
    if missing := [name for name in ours if name not in names]:
        raise UserError(
            f"the network has no class {missing[0]!r}, which {dataset.name} has ({len(names)}"
            f" classes in the network, {len(ours)} in the data): give data of the network's own"
            " classes, or its class names with --names"
        )
    return tuple(ours.get(name, -1) for name in names)
