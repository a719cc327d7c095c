"""Raw head outputs -> boxes and scores -> detections. Pure functions; they never see a spike."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from spiking_yolo.data.images import Placement
from spiking_yolo.decode.boxes import Detections, select
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


def detections(
    heads: Sequence[Tensor],
    spec: Spec,
    placements: Sequence[Placement],
    conf: float,
    iou: float,
    max_det: int,
    multi_label: bool,
) -> list[Detections]:
    """One Detections per image of the batch, in pixels of its original image; see boxes.select.

    Suppression precedes clipping, as in darknet. Boxes that lie wholly in the letterbox are
    dropped.
    """
    boxes, scores = decode(heads, spec)
    # Within one input size around the image; an enormous box would cost NMS the precision of all
    # others.
    boxes = boxes.clamp(-1, 2)
    results = []
    for image_boxes, image_scores, placement in zip(boxes, scores, placements, strict=True):
        kept = select(image_boxes, image_scores, conf, iou, max_det, multi_label)
        kept = replace(kept, xyxy=placement.to_image(kept.xyxy))
        results.append(kept.take((kept.xyxy[:, 2:] > kept.xyxy[:, :2]).all(1)))
    return results
