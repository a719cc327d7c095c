"""The YOLOv1 loss: coordinates, objectness to IoU, empty cells, classes.

Redmon et al., "You Only Look Once", 2016, equation 3, and darknet's [detection] layer with
rescore=1. All sums are per image, averaged over the batch. The head is logistic
(HeadSpec.logistic): confidences and classes are measured by binary cross-entropy instead of squared
error.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_convert, box_iou, generalized_box_iou_loss

from spiking_yolo.models.spec import HeadSpec

# Weights of the coordinates, of the confidence of empty boxes, and of 1 - GIoU of the responsible
# boxes, which the paper does not have.
COORD, NOOBJ, GIOU = 5.0, 0.5, 2.0
# A box that overlaps an object by more than this IoU does not count as empty.
IGNORE = 0.6


class Targets(NamedTuple):
    """Targets of the responsible cells, one row per object.

    image, row, col and label are int64 [G]; xywh is [G, 4]: x and y within the cell, square roots
    of w and h as fractions of the image; corners is [G, 4]: xyxy as fractions of the image.
    """

    image: Tensor
    row: Tensor
    col: Tensor
    label: Tensor
    xywh: Tensor
    corners: Tensor


def encode(boxes: Sequence[Tensor], labels: Sequence[Tensor], grid: tuple[int, int]) -> Targets:
    """The inverse of decoding.

    A cell is responsible for one object: the largest of those whose centres fall into it.

    Args:
        boxes: Per image, xyxy as fractions, [n, 4].
        labels: Per image, [n].
        grid: Rows and columns of cells.
    """
    image = torch.cat([torch.full((len(b),), i, device=b.device) for i, b in enumerate(boxes)])
    corners = torch.cat(list(boxes)).float().reshape(-1, 4)
    cxcywh = box_convert(corners, "xyxy", "cxcywh")
    order = (cxcywh[:, 2] * cxcywh[:, 3]).argsort(descending=True, stable=True)
    rows, cols = grid
    limits = image.new_tensor([cols, rows])
    scaled = cxcywh[:, :2] * limits
    cell = scaled.long().clamp(min=0).minimum(limits - 1)
    xywh = torch.cat([scaled - cell, cxcywh[:, 2:].sqrt()], 1)
    key = ((image * rows + cell[:, 1]) * cols + cell[:, 0])[order]
    same = key[:, None] == key[None]
    # No larger object has the same cell.
    first = order[~same.tril(-1).any(1)]
    label = torch.cat(list(labels)).long()
    columns = (image, cell[:, 1], cell[:, 0], label, xywh, corners)
    return Targets(*[column[first] for column in columns])


def overlaps(predicted: Tensor, boxes: Sequence[Tensor]) -> Tensor:
    """Best IoU of each predicted box [N, R, S, B, 4] with its image's objects, [N, R, S, B]."""
    best = predicted.new_zeros(predicted.shape[:-1])
    for image, (candidates, objects) in enumerate(zip(predicted, boxes, strict=True)):
        if len(objects):
            iou = box_iou(candidates.flatten(0, -2), objects.to(candidates))
            best[image] = iou.amax(1).view(best.shape[1:])
    return best


def yolov1_loss(
    output: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor], head: HeadSpec
) -> dict[str, Tensor]:
    """The terms of the loss, which is their sum.

    Of a cell's B boxes the one with the best IoU is responsible.

    Args:
        output: Raw map [N, C + 5 B, R, S].
        boxes: Per image, xyxy as fractions, [n, 4].
        labels: Per image, [n].
        head: Head of the network.

    Returns:
        Weighted scalars "coord", "obj", "noobj", "class" and "giou".
    """
    output = output.float()
    rows, cols = output.shape[2:]
    classes, confidence, xywh = output.movedim(1, 3).split(
        [head.classes, head.num, 4 * head.num], -1
    )
    xywh = xywh.unflatten(-1, (head.num, 4))
    distance = F.binary_cross_entropy_with_logits
    xywh = torch.cat([xywh[..., :2].sigmoid(), xywh[..., 2:]], -1)
    corners = head.decode(output, (rows, cols))[0].view(-1, rows, cols, head.num, 4)

    t = encode(boxes, labels, (rows, cols))
    at = (t.image, t.row, t.col)
    candidates = corners.detach()[at]  # [G, B, 4]
    iou = candidates[..., 0].clone()
    for i, box in enumerate(t.corners):
        iou[i] = box_iou(candidates[i], box[None])[:, 0]
    best, b = iou.max(1)
    chosen = (*at, b)

    empty = (overlaps(corners.detach(), boxes) <= IGNORE).float()
    empty[chosen] = 0
    nothing = torch.zeros_like(confidence)
    terms = {
        "coord": COORD * (xywh[chosen] - t.xywh).square().sum(),
        "obj": distance(confidence[chosen], best, reduction="sum"),
        "noobj": NOOBJ * (distance(confidence, nothing, reduction="none") * empty).sum(),
        "class": distance(classes[at], F.one_hot(t.label, head.classes).float(), reduction="sum"),
        "giou": GIOU * generalized_box_iou_loss(corners[chosen], t.corners, reduction="sum"),
    }
    return {name: term / len(output) for name, term in terms.items()}
