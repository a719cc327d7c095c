"""Detections in one image: boxes, or the best classes."""

import operator
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import SupportsIndex, cast

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from spiking_yolo.models.heads import Decoded
from spiking_yolo.models.spec import Spec


@dataclass(frozen=True)
class Detections:
    """Boxes of one image, best first.

    xyxy: float32 [n, 4], corners x1, y1, x2, y2. confidence: float32 [n]. class_id: int64 [n].
    track_id: int64 [n], -1 for a box in no track; None where nothing is tracked.
    """

    xyxy: Tensor
    confidence: Tensor
    class_id: Tensor
    track_id: Tensor | None = None

    def __len__(self) -> int:
        return len(self.confidence)

    def take(self, index: Tensor | slice) -> "Detections":
        """Take some of the boxes, by mask, positions or slice."""
        chosen = Detections(self.xyxy[index], self.confidence[index], self.class_id[index])
        if self.track_id is None:
            return chosen
        return replace(chosen, track_id=self.track_id[index])


# Overlap from which two boxes of a class are one object.
SAME = 0.5


def same_objects(boxes: Detections, others: Detections) -> Tensor:
    """Mark pairs of boxes that are of one class and overlap by SAME or more, bool [n, m]."""
    same_class = boxes.class_id[:, None] == others.class_id
    return same_class & (box_iou(boxes.xyxy, others.xyxy) >= SAME)


# A number, a slice, a mask with an entry for each box, or positions.
Index = SupportsIndex | slice | Tensor | np.ndarray | list[int] | list[bool]


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of an image by the names of Ultralytics, best first.

    An index, a slice, a mask or a loop gives Boxes again.

    Attributes:
        detections: The boxes.
        orig_shape: Height and width of the image.

    Example:
        >>> for box in result.boxes:
        ...     print(result.names[int(box.cls)], float(box.conf), box.xyxy[0].tolist())
    """

    detections: Detections
    orig_shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.detections)

    def __iter__(self) -> Iterator["Boxes"]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Index) -> "Boxes":
        if isinstance(index, slice):
            chosen: Tensor | slice = index
        elif isinstance(index, list | Tensor | np.ndarray) and np.ndim(index):
            chosen = torch.as_tensor(index).cpu()
            if not chosen.numel():
                chosen = chosen.long()
        else:
            i = range(len(self))[operator.index(cast(SupportsIndex, index))]
            chosen = slice(i, i + 1)
        return replace(self, detections=self.detections.take(chosen))

    @property
    def xyxy(self) -> Tensor:
        """Corners in pixels, float32 [n, 4]."""
        return self.detections.xyxy

    @property
    def conf(self) -> Tensor:
        """Confidences, float32 [n]."""
        return self.detections.confidence

    @property
    def cls(self) -> Tensor:
        """Indices of the classes, int64 [n]."""
        return self.detections.class_id

    @property
    def id(self) -> Tensor | None:
        """Ids of the tracks, int64 [n], -1 for none; None where nothing is tracked."""
        return self.detections.track_id

    @property
    def xywh(self) -> Tensor:
        """Centre, width and height in pixels, float32 [n, 4]."""
        return box_convert(self.xyxy, "xyxy", "cxcywh")

    @property
    def xyxyn(self) -> Tensor:
        """Corners as fractions of the image, float32 [n, 4]."""
        height, width = self.orig_shape
        return self.xyxy / self.xyxy.new_tensor([width, height] * 2)

    @property
    def xywhn(self) -> Tensor:
        """Centre, width and height as fractions of the image, float32 [n, 4]."""
        return box_convert(self.xyxyn, "xyxy", "cxcywh")


def counted(detections: Detections, names: Sequence[str]) -> str:
    """ "dog, 2 x car", most confident class first; "nothing" without a box."""
    counts = Counter(names[int(c)] for c in detections.class_id)
    return ", ".join(times(name, n) for name, n in counts.items()) or "nothing"


def times(name: str, n: int) -> str:
    """ "2 x car", or the name alone for one."""
    return name if n == 1 else f"{n} x {name}"


def listed(detections: Detections, names: Sequence[str]) -> str:
    """ "dog 0.62, 2 x car 0.31-0.55", most confident class first, with the lowest and highest
    confidence of several; "nothing" without a box.
    """
    found: dict[str, list[float]] = {}
    rows = zip(detections.class_id.tolist(), detections.confidence.tolist(), strict=True)
    for class_id, confidence in rows:
        found.setdefault(names[int(class_id)], []).append(confidence)
    words: list[str] = []
    for name, own in found.items():
        words.append(f"{times(name, len(own))} {min(own):.2f}")
        if len(own) > 1:
            words[-1] += f"-{max(own):.2f}"
    return ", ".join(words) or "nothing"


def decode(heads: Sequence[Tensor], spec: Spec, conf: float | None = None) -> Decoded:
    """Boxes [N, K, 4], xyxy as fractions of the network input and not clipped, and scores [N, K,
    C].

    heads: one raw tensor per spec.heads, in that order, which is also the order along K. A width or
    height whose exponential overflows is infinite. conf: see HeadSpec.decode.
    """
    boxes, scores = [], []
    for x, head in zip(heads, spec.heads, strict=True):
        head_boxes, head_scores = head.decode(x, (spec.height, spec.width), conf)
        boxes.append(head_boxes)
        scores.append(head_scores)
    return torch.cat(boxes, 1), torch.cat(scores, 1)


TOP = 5  # classes per image


@dataclass(frozen=True)
class TopClasses:
    """The best classes of one image, best first.

    class_id: int64 [n]; -1 for a class whose logit is nan. confidence: their softmax, float32 [n].
    """

    class_id: Tensor
    confidence: Tensor

    def __len__(self) -> int:
        return len(self.class_id)


def top_classes(logits: Tensor) -> list[TopClasses]:
    """The TOP best classes of each image of a batch, off the logits [N, classes]."""
    best = ranked(logits, TOP)
    confidence = logits.double().softmax(1).gather(1, best.clamp(min=0)).float()
    return [TopClasses(*of_image) for of_image in zip(best, confidence, strict=True)]


def ranked(logits: Tensor, k: int) -> Tensor:
    """The k classes with the largest logits, best first: int64 [n, min(k, classes)] from [n,
    classes].

    Ties go to the lower index. A nan logit counts as minus infinity, and its class is -1.
    """
    known = ~logits.isnan()
    ordered = torch.where(known, logits, -torch.inf).sort(dim=1, descending=True, stable=True)
    order = ordered.indices[:, :k]
    return torch.where(known.gather(1, order), order, -1)
