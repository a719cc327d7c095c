"""Which boxes of two networks stand for the same object."""

import torch
from torch import Tensor
from torchvision.ops import box_iou

from spiking_yolo.decode.boxes import Detections

# IoU from which two boxes are of one object.
SAME_OBJECT = 0.5
# A box that stands for an object, [4], and its class.
Object = tuple[Tensor, int]


def assign(objects: list[Object], boxes: Detections) -> dict[int, int]:
    """Index of an object -> index of its box. The most confident boxes choose first, each the
    object that it overlaps most.
    """
    if not objects or not len(boxes):
        return {}
    overlap = box_iou(boxes.xyxy, torch.stack([box for box, _ in objects]))
    classes = torch.tensor([class_id for _, class_id in objects])
    overlap = overlap * (boxes.class_id[:, None] == classes)
    assigned: dict[int, int] = {}
    for k in range(len(boxes)):
        row = overlap[k].clone()
        row[list(assigned)] = 0
        best = int(row.argmax())
        if row[best] > SAME_OBJECT:
            assigned[best] = k
    return assigned


def unmatched(ann: Detections, snn: Detections) -> tuple[list[int], list[int]]:
    """Indices of the boxes that only the first, and that only the second network has."""
    objects = [(box, int(c)) for box, c in zip(ann.xyxy, ann.class_id, strict=True)]
    assigned = assign(objects, snn)
    missed = [k for k in range(len(ann)) if k not in assigned]
    return missed, sorted(set(range(len(snn))) - set(assigned.values()))
