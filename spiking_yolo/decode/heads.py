"""Raw head outputs -> boxes and scores -> detections. Pure functions; they never see a spike.

Sources: Redmon et al. 2016 (YOLO), Redmon and Farhadi 2017 (YOLO9000) and 2018 (YOLOv3), as in
darknet. Ultralytics' heads without anchors (v8, and v3u, v5u): Ultralytics YOLOv8, 2023, and Li et
al., Generalized Focal Loss, NeurIPS 2020, Eq. 4 (a side of a box is the mean of a distribution over
whole numbers of grid cells).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from spiking_yolo.data.images import Placement
from spiking_yolo.decode.boxes import Detections, select
from spiking_yolo.errors import UserError
from spiking_yolo.models.spec import HeadSpec, Spec

Decoded = tuple[Tensor, Tensor]


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
    parts = [_decode_head(x, head, spec) for x, head in zip(heads, spec.heads, strict=True)]
    return torch.cat([boxes for boxes, _ in parts], 1), torch.cat(
        [scores for _, scores in parts], 1
    )


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


def _decode_head(x: Tensor, head: HeadSpec, spec: Spec) -> Decoded:
    expected = (head.values * head.side**2,) if head.side else (head.values, *x.shape[2:])
    if tuple(x.shape[1:]) != expected or (not head.side and x.ndim != 4):
        raise UserError(
            f"a {head.kind} head of shape {tuple(x.shape)} does not fit its spec; use its own spec"
        )
    if head.kind == "yolov8":
        return _yolov8(x, head)
    if head.kind == "yolov1":
        return _yolov1(x, head)
    return _anchored(x, head, spec)


def _yolov1(x: Tensor, head: HeadSpec) -> Decoded:
    """Map [N, C + B + 4B, H, W], or vector of the classes, then the confidences, then the boxes of
    all S x S cells.

    x, y: offsets in the cell; w, h: fractions of the input or their roots. K runs row, column, box.
    """
    per_cell = [head.classes, head.num, 4 * head.num]
    if head.side:
        parts = x.split([head.side**2 * values for values in per_cell], 1)
        cells = torch.cat([part.reshape(len(x), head.side, head.side, -1) for part in parts], 3)
    else:
        cells = x.permute(0, 2, 3, 1)
    classes, confidence, boxes = cells.split(per_cell, 3)
    classes, boxes = classes.unsqueeze(3), boxes.unflatten(3, (head.num, 4))
    if head.softmax:
        classes = classes.softmax(-1)
    if head.logistic:
        classes, confidence = classes.sigmoid(), confidence.sigmoid()
        boxes = torch.cat([boxes[..., :2].sigmoid(), boxes[..., 2:]], -1)
    col, row = _grid(boxes, boxes.shape[1], boxes.shape[2])
    cx = (boxes[..., 0] + col[..., None]) / boxes.shape[2]
    cy = (boxes[..., 1] + row[..., None]) / boxes.shape[1]
    size = boxes[..., 2:].square() if head.sqrt else boxes[..., 2:]
    scores = confidence.unsqueeze(-1) * classes
    return _corners(cx, cy, size[..., 0], size[..., 1]).flatten(1, 3), scores.flatten(1, 3)


def _anchored(x: Tensor, head: HeadSpec, spec: Spec) -> Decoded:
    """[N, A*(5 + C), H, W] with entries x, y, w, h, objectness, classes; K runs anchor, row,
    column.

    Widths and heights are exponentials, in YOLOv5 squares of a logistic function, which are at most
    4 anchors.
    """
    x = x.unflatten(1, (head.num, 5 + head.classes))
    tx, ty, tw, th, objectness = x[:, :, :5].unbind(2)
    height, width = x.shape[-2:]
    col, row = _grid(x, height, width)
    unit_w, unit_h = (width, height) if head.kind == "yolov2" else (spec.width, spec.height)
    anchor_w, anchor_h = x.new_tensor(head.anchors).T[..., None, None]
    kw, kh = ((2 * t.sigmoid()).square() if head.kind == "yolov5" else t.exp() for t in (tw, th))
    w, h = anchor_w * kw / unit_w, anchor_h * kh / unit_h
    x_in, y_in = (t.sigmoid() * head.scale - (head.scale - 1) / 2 for t in (tx, ty))
    cx, cy = (col + x_in) / width, (row + y_in) / height
    classes = x[:, :, 5:].softmax(2) if head.softmax else x[:, :, 5:].sigmoid()
    scores = objectness.sigmoid().unsqueeze(2) * classes
    return _corners(cx, cy, w, h).flatten(1, 3), scores.movedim(2, -1).flatten(1, 3)


def _yolov8(x: Tensor, head: HeadSpec) -> Decoded:
    """[N, 4 bins + C, H, W]: logits of the distances from the cell's centre to left, top, right and
    bottom, then of the classes; K runs row, column. With one bin the distances themselves.
    """
    height, width = x.shape[-2:]
    distances, classes = x.permute(0, 2, 3, 1).split([4 * head.bins, head.classes], 3)
    numbers = torch.arange(head.bins, dtype=x.dtype, device=x.device)
    if head.bins > 1:
        distances = distances.unflatten(3, (4, head.bins)).softmax(4) @ numbers
    left, top, right, bottom = distances.unbind(3)
    col, row = _grid(x, height, width)
    cx, cy = col + 0.5, row + 0.5
    corners = (cx - left) / width, (cy - top) / height, (cx + right) / width, (cy + bottom) / height
    return torch.stack(corners, 3).flatten(1, 2), classes.sigmoid().flatten(1, 2)


def _grid(like: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Column numbers [1, W] and row numbers [H, 1]."""
    col = torch.arange(width, dtype=like.dtype, device=like.device)
    row = torch.arange(height, dtype=like.dtype, device=like.device)
    return col[None, :], row[:, None]


def _corners(cx: Tensor, cy: Tensor, w: Tensor, h: Tensor) -> Tensor:
    return torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)
