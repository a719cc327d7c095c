"""Detections of one image, and the suppression that leaves one box per object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
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


def select(boxes: Tensor, scores: Tensor, conf: float, iou: float, max_det: int, multi_label: bool) -> Detections:
    """Threshold and per-class greedy NMS of one image.

    boxes: [k, 4] xyxy in any unit. scores: [k, C], objectness times class probability.
    conf: keep scores strictly above it. iou: a box is suppressed when its IoU with a better one of its class is
    above it. multi_label: every class above `conf` counts (evaluation); otherwise the best class of a box only.
    """
    if multi_label:
        index, class_id = (scores > conf).nonzero(as_tuple=True)
        confidence = scores[index, class_id]
    else:
        confidence, class_id = scores.max(1)
        index = (confidence > conf).nonzero().flatten()
        confidence, class_id = confidence[index], class_id[index]
    candidates = boxes[index]
    finite = torch.isfinite(candidates).all(1)
    candidates, confidence, class_id = candidates[finite], confidence[finite], class_id[finite]
    keep = batched_nms(candidates.float(), confidence.float(), class_id, iou)[:max_det]
    return Detections(candidates[keep].float(), confidence[keep].float(), class_id[keep])
