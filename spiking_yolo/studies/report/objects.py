"""Objects in a photograph, followed over the timesteps: which boxes are of one object, and its confidence."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from spiking_yolo.decode.boxes import Detections

SAME = 0.5  # IoU of two boxes of one object
FAINT = 0.01  # confidence from which an object is followed, whatever boxes are shown


@dataclass(frozen=True)
class Followed:
    """An object. ann: the ANN's confidence, confidence: that at each step; None where it is below FAINT."""

    class_id: int
    ann: float | None
    confidence: list[float | None]


def follow(ann: Detections, steps: Mapping[int, Detections], conf: float) -> list[Followed]:
    """Objects that the ANN or any step finds with a confidence above `conf`: those of the ANN first, the surest first.

    ann, steps: boxes above FAINT. A box belongs to an object of its class that it overlaps by more than SAME; each
    object has at most one box at a time, the surest.
    """
    found: list[tuple[Tensor, int]] = []
    for boxes in (ann, *reversed(list(steps.values()))):
        sure = boxes.take(boxes.confidence > conf)
        free = set(range(len(sure))) - set(_assigned(found, sure).values())
        found += [(sure.xyxy[k], int(sure.class_id[k])) for k in sorted(free)]
    by_ann = _confidences(found, ann)
    by_step = [_confidences(found, boxes) for boxes in steps.values()]
    objects = [Followed(c, by_ann[k], [of[k] for of in by_step]) for k, (_, c) in enumerate(found)]
    return sorted(objects, key=lambda one: (one.ann is None or one.ann <= conf, -_most(one)))


def _most(one: Followed) -> float:
    return max(c or 0.0 for c in (one.ann, *one.confidence))


def _confidences(objects: list[tuple[Tensor, int]], boxes: Detections) -> list[float | None]:
    mine = _assigned(objects, boxes)
    return [float(boxes.confidence[mine[k]]) if k in mine else None for k in range(len(objects))]


def _assigned(objects: list[tuple[Tensor, int]], boxes: Detections) -> dict[int, int]:
    """Object -> its box; the surest boxes choose first, each the object that it overlaps most."""
    if not objects or not len(boxes):
        return {}
    overlap = box_iou(boxes.xyxy, torch.stack([box for box, _ in objects]))
    overlap = overlap * (boxes.class_id[:, None] == torch.tensor([c for _, c in objects]))
    mine: dict[int, int] = {}
    for k in range(len(boxes)):  # the surest first
        row = overlap[k].clone()
        row[list(mine)] = 0
        best = int(row.argmax())
        if row[best] > SAME:
            mine[best] = k
    return mine


def unmatched(ann: Detections, snn: Detections) -> tuple[list[int], list[int]]:
    """Positions of the boxes that only one of them has."""
    mine = _assigned([(box, int(c)) for box, c in zip(ann.xyxy, ann.class_id, strict=True)], snn)
    missed = [k for k in range(len(ann)) if k not in mine]
    return missed, sorted(set(range(len(snn))) - set(mine.values()))


def class_ids(every: Iterable[Detections]) -> set[int]:
    """The classes of all boxes."""
    return {int(c) for boxes in every for c in boxes.class_id}
