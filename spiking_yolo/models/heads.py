"""Detection heads: what the values of an output tensor mean. A layout of a head is one entry.

Sources: Redmon et al. 2016 (YOLO), Redmon and Farhadi 2017 (YOLO9000) and 2018 (YOLOv3), as in
darknet. Ultralytics' heads without anchors (v3u, v5u, v8 and later): Ultralytics YOLOv8, 2023, and
Li et al., Generalized Focal Loss, NeurIPS 2020, Eq. 4 (a side of a box is the mean of a
distribution over whole numbers of grid cells).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Self

import torch
from msgspec import Meta
from torch import Tensor

from spiking_yolo.io.text import LARGEST, Size

# The most classes, boxes per cell, and bins per side of a box.
CLASSES, BOXES, BINS = 10_000, 64, 64
Positive = Annotated[float, Meta(gt=0)]
Decoded = tuple[Tensor, Tensor]
Decode = Callable[..., Decoded]


@dataclass(frozen=True)
class HeadSpec:
    """How one output tensor becomes boxes.

    Attributes:
        kind: The layout, a key of HEADS: "yolov1" (darknet's [detection], connected or
            convolutional), "yolov2" ([region]), "yolov3" ([yolo]), "yolov5" (the original's, with
            anchors, YOLOv7's, and darknet's with new_coords=1), or "yolov8" (the anchor-free head
            of Ultralytics' v3u, v5u, v8 and later).
        classes: Number of classes.
        num: Boxes per cell.
        anchors: (w, h) pairs; grid cells for yolov2, pixels of the network input for others.
        side: Grid cells per side of a connected yolov1 head, 0 when the output is a map.
        sqrt: yolov1 predicts square roots of w and h.
        softmax: Class scores by softmax (v2) instead of sigmoid.
        logistic: Apply the logistic function to yolov1's class values, confidences, x and y (the
            published one has none).
        bins: yolov8's values per side of a box, a distribution over 0, 1, ..., bins - 1 cells.
        scale: Scale of x and y of an anchored box around the middle of its cell (scale_x_y), so
            that they reach its border.
    """

    kind: str
    classes: Annotated[int, Meta(ge=1, le=CLASSES)]
    num: Annotated[int, Meta(ge=1, le=BOXES)]
    anchors: tuple[tuple[Positive, Positive], ...] = ()
    side: Annotated[int, Meta(ge=0, le=LARGEST)] = 0
    sqrt: bool = True
    softmax: bool = False
    logistic: bool = False
    bins: Annotated[int, Meta(ge=1, le=BINS)] = 16
    scale: Positive = 1.0

    @property
    def values(self) -> int:
        """Output values per grid cell."""
        return HEADS[self.kind].values(self)

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether an output of this shape, without the batch, is this head's."""
        if self.side:
            return tuple(shape) == (self.side**2 * self.values,)
        return len(shape) == 3 and shape[0] == self.values

    def decode(self, x: Tensor, imgsz: Size, conf: float | None = None) -> Decoded:
        """Boxes and scores of an output tensor, see Head.decode; with `conf` those of one image
        alone that lie in cells where a score may be above it.
        """
        head = HEADS[self.kind]
        if conf is None or head.bound is None or len(x) > 1:
            return head.decode(x, self, imgsz)
        # The bound is a little lower, since a sigmoid may differ in its last bit.
        sure = head.bound(x, self)[0].sigmoid() >= conf * (1 - 1e-5)
        row, column = sure.nonzero(as_tuple=True)
        cells = Cells(column[None].to(x), row[None].to(x), *sure.shape)
        return head.decode(x[:, :, None, row, column], self, imgsz, cells)


@dataclass(frozen=True)
class Head:
    """A layout of a head.

    Attributes:
        decode: A function from an output [N, values, H, W] (or [N, side^2 values] of a connected
            head), its HeadSpec and the size of the network input, to boxes [N, K, 4], xyxy as
            fractions of the input and not clipped, and scores [N, K, C]. Some cells alone, [N,
            values, 1, n], come with their Cells.
        values: Output values per grid cell.
        bound: The logit [N, H, W] that no score of a cell is above.
        anchored: It needs an anchor for each of the `num` boxes of a cell.
        shares: Its values measure boxes in shares of the input, so that an image is seen at the
            shape of the input, whatever its own.
        overlap: Its boxes were trained by their overlap (IoU), not by squared errors of its values.
            Thresholds are then trained by overlap too.
    """

    decode: Decode
    values: Callable[[HeadSpec], int]
    bound: Callable[[Tensor, HeadSpec], Tensor] | None = None
    anchored: bool = False
    shares: bool = False
    overlap: bool = False


# HeadSpec.kind -> its layout.
HEADS: dict[str, Head] = {}


def register(kind: str, **options: Any) -> Callable[[Decode], Decode]:
    """Decorator: add a layout of heads, which the function decodes; see Head for the options."""

    def add(decode: Decode) -> Decode:
        HEADS[kind] = Head(decode, **options)
        return decode

    return add


class Cells(NamedTuple):
    """Cells of a map: their columns and rows, which go with its values, and its size."""

    column: Tensor
    row: Tensor
    height: int
    width: int

    @classmethod
    def every(cls, x: Tensor) -> Self:
        """All cells of a map [..., H, W]."""
        height, width = x.shape[-2:]
        column = torch.arange(width, dtype=x.dtype, device=x.device)[None]
        row = torch.arange(height, dtype=x.dtype, device=x.device)[:, None]
        return cls(column, row, height, width)


ANCHORED: dict[str, Any] = {
    "values": lambda head: head.num * (5 + head.classes),
    "bound": lambda x, head: x.unflatten(1, (head.num, -1))[:, :, 4].amax(1),
    "anchored": True,
}


@register("yolov1", values=lambda head: 5 * head.num + head.classes, shares=True)
def yolov1(x: Tensor, head: HeadSpec, imgsz: Size) -> Decoded:
    """Map [N, C + B + 4B, H, W], or vector of the classes, then the confidences, then the boxes of
    all S x S cells.

    x, y: offsets in the cell; w, h: fractions of the input or their roots. K runs row, column, box.
    """
    per_cell = [head.classes, head.num, 4 * head.num]
    if head.side:
        parts: list[Tensor] = []
        for part in x.split([head.side**2 * values for values in per_cell], 1):
            parts.append(part.reshape(len(x), head.side, head.side, -1))
        cells = torch.cat(parts, 3)
    else:
        cells = x.permute(0, 2, 3, 1)
    classes, confidence, boxes = cells.split(per_cell, 3)
    classes = classes.unsqueeze(3)
    boxes = boxes.unflatten(3, (head.num, 4))
    if head.softmax:
        classes = classes.softmax(-1)
    if head.logistic:
        classes = classes.sigmoid()
        confidence = confidence.sigmoid()
        boxes = torch.cat([boxes[..., :2].sigmoid(), boxes[..., 2:]], -1)
    column, row, height, width = Cells.every(boxes[..., 0, 0])
    cx = (boxes[..., 0] + column[..., None]) / width
    cy = (boxes[..., 1] + row[..., None]) / height
    size = boxes[..., 2:]
    if head.sqrt:
        size = size.square()
    scores = confidence.unsqueeze(-1) * classes
    return corners(cx, cy, size[..., 0], size[..., 1]).flatten(1, 3), scores.flatten(1, 3)


@register("yolov2", **ANCHORED)
def yolov2(x: Tensor, head: HeadSpec, imgsz: Size, cells: Cells | None = None) -> Decoded:
    """Anchored, see `_anchored`; widths and heights are exponentials, anchors in grid cells."""
    cells = cells or Cells.every(x)
    return _anchored(x, head, (cells.height, cells.width), torch.exp, cells)


@register("yolov3", **ANCHORED)
def yolov3(x: Tensor, head: HeadSpec, imgsz: Size, cells: Cells | None = None) -> Decoded:
    """Anchored, see `_anchored`; widths and heights are exponentials, anchors in pixels."""
    return _anchored(x, head, imgsz, torch.exp, cells)


@register("yolov5", **ANCHORED, overlap=True)
def yolov5(x: Tensor, head: HeadSpec, imgsz: Size, cells: Cells | None = None) -> Decoded:
    """Anchored, see `_anchored`; widths and heights are (2 sigmoid)^2, at most 4 anchors."""
    return _anchored(x, head, imgsz, lambda t: (2 * t.sigmoid()).square(), cells)


def _anchored(
    x: Tensor, head: HeadSpec, unit: Size, growth: Callable[[Tensor], Tensor], cells: Cells | None
) -> Decoded:
    """[N, A*(5 + C), H, W] with x, y, w, h, objectness, classes; K runs anchor, row, column.

    unit: Height and width of the input, in the unit of the anchors. growth: From w or h to a factor
    on the anchor.
    """
    column, row, height, width = cells or Cells.every(x)
    x = x.unflatten(1, (head.num, 5 + head.classes))
    tx, ty, tw, th, objectness = x[:, :, :5].unbind(2)
    anchor_w, anchor_h = x.new_tensor(head.anchors).T[..., None, None]
    w = anchor_w * growth(tw) / unit[1]
    h = anchor_h * growth(th) / unit[0]
    offset = (head.scale - 1) / 2
    cx = (column + (tx.sigmoid() * head.scale - offset)) / width
    cy = (row + (ty.sigmoid() * head.scale - offset)) / height
    classes = x[:, :, 5:].softmax(2) if head.softmax else x[:, :, 5:].sigmoid()
    scores = objectness.sigmoid().unsqueeze(2) * classes
    return corners(cx, cy, w, h).flatten(1, 3), scores.movedim(2, -1).flatten(1, 3)


@register(
    "yolov8",
    values=lambda head: 4 * head.bins + head.classes,
    bound=lambda x, head: x[:, 4 * head.bins :].amax(1),
    overlap=True,
)
def yolov8(x: Tensor, head: HeadSpec, imgsz: Size, cells: Cells | None = None) -> Decoded:
    """[N, 4 bins + C, H, W]: logits of the distances from the cell's centre to left, top, right and
    bottom, then of the classes; K runs row, column. With one bin the distances themselves.
    """
    column, row, height, width = cells or Cells.every(x)
    distances, classes = x.permute(0, 2, 3, 1).split([4 * head.bins, head.classes], 3)
    if head.bins > 1:
        numbers = torch.arange(head.bins, dtype=x.dtype, device=x.device)
        distances = distances.unflatten(3, (4, head.bins)).softmax(4) @ numbers
    left, top, right, bottom = distances.unbind(3)
    cx, cy = column + 0.5, row + 0.5
    sides = (cx - left) / width, (cy - top) / height, (cx + right) / width, (cy + bottom) / height
    return torch.stack(sides, 3).flatten(1, 2), classes.sigmoid().flatten(1, 2)


def corners(cx: Tensor, cy: Tensor, w: Tensor, h: Tensor) -> Tensor:
    """xyxy [..., 4] from centres and sizes."""
    return torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)
