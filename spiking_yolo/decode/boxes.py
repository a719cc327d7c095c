"""Detections of one image, and the suppression that leaves one box per object."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torchvision.ops import batched_nms


@dataclass(frozen=True)
class Detections:
    """Boxes of one image, best first.

    xyxy: float32 [n, 4], corners x1, y1, x2, y2. confidence: float32 [n]. class_id: int64 [n].
    """

    xyxy: Tensor
    confidence: Tensor
    class_id: Tensor

    def __len__(self) -> int:
        return len(self.confidence)

    def take(self, index: Tensor | slice) -> "Detections":
        """Some of the boxes, by mask, positions or slice."""
        return Detections(self.xyxy[index], self.confidence[index], self.class_id[index])


def counted(detections: Detections, names: Sequence[str]) -> str:
    """ "dog, 2 x car", most confident class first; "nothing" without a box."""
    counts = Counter(names[int(c)] for c in detections.class_id)
    return ", ".join(f"{n} x {name}" if n > 1 else name for name, n in counts.items()) or "nothing"


def listed(detections: Detections, names: Sequence[str]) -> str:
    """ "dog 0.62, 2 x car 0.31-0.55", most confident class first, with the lowest and highest
    confidence of several; "nothing" without a box.
    """
    found: dict[str, list[float]] = {}
    for c, confidence in zip(
        detections.class_id.tolist(), detections.confidence.tolist(), strict=True
    ):
        found.setdefault(names[int(c)], []).append(confidence)
    words = [
        f"{len(own)} x {name} {min(own):.2f}-{max(own):.2f}"
        if len(own) > 1
        else f"{name} {own[0]:.2f}"
        for name, own in found.items()
    ]
    return ", ".join(words) or "nothing"


def select(
    boxes: Tensor, scores: Tensor, conf: float, iou: float, max_det: int, multi_label: bool
) -> Detections:
    """Threshold and per-class greedy NMS of one image.

    boxes: [k, 4] xyxy in any unit. scores: [k, C], objectness times class probability. conf: keep
    scores strictly above it. iou: a box is suppressed when its IoU with a better one of its class
    is above it. multi_label: every class above `conf` counts (evaluation); otherwise the best class
    of a box only.
    """
    if multi_label:
        index, class_id = (scores > conf).nonzero(as_tuple=True)
        every = Detections(boxes[index].float(), scores[index, class_id].float(), class_id)
    else:
        confidence, class_id = scores.max(1)
        every = Detections(boxes.float(), confidence.float(), class_id).take(confidence > conf)
    every = every.take(every.xyxy.isfinite().all(1))
    return every.take(batched_nms(every.xyxy, every.confidence, every.class_id, iou)[:max_det])
