"""When an image may stop: its predictions have not changed for some steps."""

from collections.abc import Callable, Sequence
from typing import Any

from torchvision.ops import box_iou

from spiking_yolo.decode.boxes import Detections


def exit_step(predictions: Sequence[Any], same: Callable[[Any, Any], bool], patience: int) -> int:
    """The first step t, counted from 1, at which `patience` steps in a row agree with the one before them.

    predictions: one per timestep. A later one is compared with the first of its row, so slow drift is a change too.
    Without such a row: the last step.
    """
    first = 0
    for t in range(1, len(predictions)):
        if not same(predictions[first], predictions[t]):
            first = t
        elif t - first == patience:
            return t + 1
    return len(predictions)


def same_detections(a: Detections, b: Detections, iou: float = 0.9, confidence: float = 0.02) -> bool:
    """Whether the boxes pair off: equal class, IoU above `iou`, confidence not further apart than `confidence`.

    Boxes of a class that survive suppression overlap too little for two of them to fit one box that well, so the best
    partner is the only one. Nothing found never counts as unchanged: a network that has not spiked yet goes on.
    """
    if len(a) != len(b) or len(a) == 0:
        return False
    fits = box_iou(a.xyxy, b.xyxy) > iou
    fits &= a.class_id[:, None] == b.class_id[None]
    fits &= (a.confidence[:, None] - b.confidence[None]).abs() <= confidence
    return bool(fits.any(0).all() and fits.any(1).all())
