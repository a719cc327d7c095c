"""Raw head outputs -> boxes and scores. Pure functions; they never see a spike."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.models.heads import Decoded
from spiking_yolo.models.spec import Spec


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
