"""The YOLOv1 loss: coordinates, objectness to IoU, empty cells, classes.

Redmon et al., "You Only Look Once", 2016, equation 3, and darknet's [detection] layer with
rescore=1. All sums are per image, averaged over the batch. A logistic head (HeadSpec.logistic)
keeps the terms but measures confidences and classes by binary cross-entropy instead of squared
error.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_convert, box_iou, generalized_box_iou_loss

from spiking_yolo.models.spec import HeadSpec

# Rows R and columns S of cells.
Grid = tuple[int, int]
# Weights of the coordinates, of the confidence of empty boxes, and of 1 - GIoU of the responsible
# boxes, which the paper does not have.
COORD, NOOBJ, GIOU = 5.0, 0.5, 2.0
# A box that overlaps an object by more than this IoU does not count as empty.
IGNORE = 0.6


class Targets(NamedTuple):
    """Targets of the responsible cells, one row per object.

    image, row, col and label are int64 [G]; xywh is [G, 4]: x and y within the cell, square roots
    of w and h as fractions of the image.
    """

    image: Tensor
    row: Tensor
    col: Tensor
    label: Tensor
    xywh: Tensor


def encode(boxes: Sequence[Tensor], labels: Sequence[Tensor], grid: Grid) -> Targets:
    """The inverse of decoding.

    A cell is responsible for one object: the largest of those whose centres fall into it.

    Args:
        boxes: Per image, xyxy as fractions, [n, 4].
        labels: Per image, [n].
        grid: Rows and columns of cells.
    """
    image = torch.cat([torch.full((len(b),), i, device=b.device) for i, b in enumerate(boxes)])
    cxcywh = box_convert(torch.cat(list(boxes)).float().reshape(-1, 4), "xyxy", "cxcywh")
    order = (cxcywh[:, 2] * cxcywh[:, 3]).argsort(descending=True, stable=True)
    image = image[order]
    cxcywh = cxcywh[order]
    label = torch.cat(list(labels))[order]
    rows, cols = grid
    limits = image.new_tensor([cols, rows])
    scaled = cxcywh[:, :2] * limits
    cell = scaled.long().clamp(min=0).minimum(limits - 1)
    key = (image * rows + cell[:, 1]) * cols + cell[:, 0]
    first = key.bool()
    if len(key):
        same = (key[:, None] == key[None]).long()
        first = same.argmax(1) == torch.arange(len(key), device=key.device)
    xywh = torch.cat([scaled - cell, cxcywh[:, 2:].sqrt()], 1)
    return Targets(image[first], cell[first, 1], cell[first, 0], label[first].long(), xywh[first])


def split(output: Tensor, head: HeadSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Split a raw map [N, C + 5 B, R, S].

    Returns:
        Classes [N, R, S, C], confidences [N, R, S, B] and boxes [N, R, S, B, 4]. x and y have
        passed the logistic function where the head says so; the rest is raw.
    """
    classes, confidence, boxes = output.permute(0, 2, 3, 1).split(
        [head.classes, head.num, 4 * head.num], -1
    )
    boxes = boxes.unflatten(-1, (head.num, 4))
    if head.logistic:
        boxes = torch.cat([boxes[..., :2].sigmoid(), boxes[..., 2:]], -1)
    return classes, confidence, boxes


def to_xyxy(xywh: Tensor, row: Tensor, col: Tensor, grid: Grid) -> Tensor:
    """Boxes in cells [..., 4] to corners as fractions of the image. row, col: [...]."""
    rows, cols = grid
    cx = (xywh[..., 0] + col) / cols
    cy = (xywh[..., 1] + row) / rows
    w = xywh[..., 2] ** 2
    h = xywh[..., 3] ** 2
    return torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)


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
    grid = (output.shape[2], output.shape[3])
    distance = F.mse_loss
    if head.logistic:
        distance = F.binary_cross_entropy_with_logits
    classes, confidence, xywh = split(output, head)
    t = encode(boxes, labels, grid)
    row = torch.arange(grid[0], device=output.device)
    col = torch.arange(grid[1], device=output.device)
    corners = to_xyxy(xywh, row[:, None, None], col[:, None], grid)  # [N, R, S, B, 4]

    truth = to_xyxy(t.xywh, t.row, t.col, grid)  # [G, 4]
    at = (t.image, t.row, t.col)
    candidates = corners.detach()[at]  # [G, B, 4]
    iou = candidates[..., 0].clone()
    for i, box in enumerate(truth):
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
    }
    giou = generalized_box_iou_loss(corners[chosen], truth, reduction="sum")
    terms["giou"] = GIOU * giou
    return {name: term / len(output) for name, term in terms.items()}
