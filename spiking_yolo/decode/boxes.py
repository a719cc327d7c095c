"""The boxes of one image."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.models.heads import Decoded
from spiking_yolo.models.spec import Spec


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


def decode(heads: Sequence[Tensor], spec: Spec) -> Decoded:
    """Boxes [N, K, 4], xyxy as fractions of the network input and not clipped, and scores [N, K,
    C].

    heads: one raw tensor per spec.heads, in that order, which is also the order along K. A width or
    height whose exponential overflows is infinite. Raises UserError when the tensors do not fit the
    spec.
    """
    if len(heads) != len(spec.heads):
        raise UserError(
            f"the network has {len(heads)} outputs, its spec {len(spec.heads)} heads; use its own"
            " spec"
        )
    boxes, scores = [], []
    for x, head in zip(heads, spec.heads, strict=True):
        if not head.fits(x.shape[1:]):
            raise UserError(
                f"a {head.kind} head of shape {tuple(x.shape)} does not fit its spec; use its own"
                " spec"
            )
        head_boxes, head_scores = head.decode(x, (spec.height, spec.width))
        boxes.append(head_boxes)
        scores.append(head_scores)
    return torch.cat(boxes, 1), torch.cat(scores, 1)
