"""The YOLOv1 loss: coordinates, objectness to IoU, empty cells, classes.

Redmon et al., "You Only Look Once", 2016, equation 3, and darknet's [detection] layer with
rescore=1. All sums are per image, averaged over the batch. A logistic head (HeadSpec.logistic)
keeps the terms but measures confidences and classes by binary cross-entropy instead of squared
error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_convert, box_iou, generalized_box_iou_loss

from spiking_yolo.models.spec import HeadSpec

Grid = tuple[int, int]  # rows R and columns S of cells


@dataclass(frozen=True)
class LossWeights:
    """coord, noobj: of the paper. giou: of 1 - GIoU of the responsible boxes (the paper has none).
    ignore: a box that overlaps some object by more than this IoU is not told that it is empty (1:
    always told, as in the paper).
    """

    coord: float = 5.0
    noobj: float = 0.5
    giou: float = 0.0
    ignore: float = 1.0


class Targets(NamedTuple):
    """What responsible cells should say, one row per object. image, row, col, label: int64 [G].
    xywh: [G, 4], x and y within the cell, square roots of w and h as fractions of the image.
    """

    image: Tensor
    row: Tensor
    col: Tensor
    label: Tensor
    xywh: Tensor


def encode(boxes: Sequence[Tensor], labels: Sequence[Tensor], grid: Grid) -> Targets:
    """The inverse of decoding. boxes: per image [n, 4] xyxy as fractions. labels: per image [n].

    A cell speaks for one object: the largest of those whose centres fall into it.
    """
    image = torch.cat([torch.full((len(b),), i, device=b.device) for i, b in enumerate(boxes)])
    cxcywh = box_convert(torch.cat(list(boxes)).float().reshape(-1, 4), "xyxy", "cxcywh")
    order = (cxcywh[:, 2] * cxcywh[:, 3]).argsort(descending=True, stable=True)
    image, cxcywh, label = image[order], cxcywh[order], torch.cat(list(labels))[order]
    rows, cols = grid
    limits = image.new_tensor([cols, rows])
    scaled = cxcywh[:, :2] * limits
    cell = scaled.long().clamp(min=0).minimum(limits - 1)
    key = (image * rows + cell[:, 1]) * cols + cell[:, 0]
    same = key[:, None] == key[None]
    first = (
        same.long().argmax(1) == torch.arange(len(key), device=key.device)
        if len(key)
        else key.bool()
    )
    xywh = torch.cat([scaled - cell, cxcywh[:, 2:].sqrt()], 1)
    return Targets(image[first], cell[first, 1], cell[first, 0], label[first].long(), xywh[first])


def split(output: Tensor, head: HeadSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Raw map [N, C + 5 B, R, S] to classes [N, R, S, C], confidences [N, R, S, B] and boxes [N, R,
    S, B, 4].

    x and y have passed the logistic function where the head says so; the rest is raw.
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
    cx, cy = (xywh[..., 0] + col) / cols, (xywh[..., 1] + row) / rows
    w, h = xywh[..., 2] ** 2, xywh[..., 3] ** 2
    return torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)


def overlaps(predicted: Tensor, boxes: Sequence[Tensor]) -> Tensor:
    """Best IoU of every predicted box [N, R, S, B, 4] with the objects of its image: [N, R,
    S, B].
    """
    best = [
        box_iou(p.flatten(0, -2), b.to(p)).amax(1) if len(b) else p.new_zeros(p[..., 0].numel())
        for p, b in zip(predicted, boxes, strict=True)
    ]
    return torch.stack(best).view(predicted.shape[:-1])


def yolov1_loss(
    output: Tensor,
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    head: HeadSpec,
    weights: LossWeights,
) -> dict[str, Tensor]:
    """Weighted terms, scalars: "coord", "obj", "noobj", "class" and, when asked for, "giou". The
    loss is their sum.

    output: raw map [N, C + 5 B, R, S]. boxes: per image [n, 4] xyxy as fractions. labels: per image
    [n]. Of a cell's B boxes the one with the best IoU is responsible.
    """
    output = output.float()
    count, grid = output.shape[0], (output.shape[2], output.shape[3])
    distance = F.binary_cross_entropy_with_logits if head.logistic else F.mse_loss
    classes, confidence, xywh = split(output, head)
    t = encode(boxes, labels, grid)
    row, col = (torch.arange(n, device=output.device) for n in grid)
    corners = to_xyxy(xywh, row[:, None, None], col[:, None], grid)  # [N, R, S, B, 4]

    truth = to_xyxy(t.xywh, t.row, t.col, grid)  # [G, 4]
    at = (t.image, t.row, t.col)
    candidates = corners.detach()[at]  # [G, B, 4]
    iou = (
        torch.stack([box_iou(c, g[None])[:, 0] for c, g in zip(candidates, truth, strict=True)])
        if len(truth)
        else candidates[..., 0]
    )
    best, b = iou.max(1)
    chosen = (*at, b)

    empty = (overlaps(corners.detach(), boxes) <= weights.ignore).float()
    empty[chosen] = 0
    nothing = torch.zeros_like(confidence)
    terms = {
        "coord": weights.coord * (xywh[chosen] - t.xywh).square().sum(),
        "obj": distance(confidence[chosen], best, reduction="sum"),
        "noobj": weights.noobj * (distance(confidence, nothing, reduction="none") * empty).sum(),
        "class": distance(classes[at], F.one_hot(t.label, head.classes).float(), reduction="sum"),
    }
    if weights.giou:
        terms["giou"] = weights.giou * generalized_box_iou_loss(
            corners[chosen], truth, reduction="sum"
        )
    return {name: term / count for name, term in terms.items()}
