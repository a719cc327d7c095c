"""The selection of boxes from a network's output, as its user asks for it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import ops

from spiking_yolo.data.annotations import match_names
from spiking_yolo.data.images import Placement
from spiking_yolo.decode import CONF, IOU, MAX_DET
from spiking_yolo.decode.boxes import Detections, decode
from spiking_yolo.errors import UserError
from spiking_yolo.io.text import LARGEST_INTEGER, did_you_mean, whole
from spiking_yolo.models.spec import Spec

Classes = str | int | Iterable[str | int]
# Two boxes that overlap by more are one object, also in heads that were trained to find each object
# once: values that are coarser than in training bring duplicates back.
DUPLICATE = 0.7


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Reads boxes off the outputs of a detector.

    Args:
        conf: Keep boxes whose confidence is above this.
        iou: Suppress a box that overlaps a better one of its class by more than this; of a head
            that needs no suppression at least DUPLICATE.
        max_det: Most boxes per image.
        agnostic_nms: Suppress boxes across classes, not within each class.
        classes: Ids of the classes to keep; None keeps all. `max_det` counts boxes of these only.
        multi_label: Whether a box counts for every class above `conf`, as in evaluations, and not
            for its best class alone.

    Raises:
        UserError: An argument, which the message names, has the wrong type or is out of range.
    """

    conf: float = CONF
    iou: float = IOU
    max_det: int = MAX_DET
    agnostic_nms: bool = False
    classes: tuple[int, ...] | None = None
    multi_label: bool = False

    def __post_init__(self) -> None:
        for name, value in {"conf": self.conf, "iou": self.iou}.items():
            number = isinstance(value, int | float | np.floating) and not isinstance(value, bool)
            if not (number and 0 <= value <= 1):
                raise UserError(f"{name} must be a number from 0 to 1, not {value!r}")
        check_count("max_det", self.max_det)
        if not isinstance(self.agnostic_nms, bool):
            raise UserError(f"agnostic_nms must be True or False, not {self.agnostic_nms!r}")

    def largest_overlap(self, nms: bool) -> float:
        """The largest overlap of two boxes that both count. nms: See Spec."""
        return self.iou if nms else max(self.iou, DUPLICATE)

    def boxes(
        self, outputs: Sequence[Tensor], spec: Spec, placements: Sequence[Placement]
    ) -> list[Detections]:
        """The boxes of each image of a batch, in its pixels, off the raw head outputs [N, ...].

        Suppression precedes clipping, as in darknet. Boxes that lie wholly in the letterbox are
        dropped.
        """
        boxes, scores = decode([output.cpu() for output in outputs], spec, self.conf)
        # Clamp to one input size around the image: an enormous box would cost NMS the precision of
        # all others.
        boxes = boxes.clamp(-1, 2)
        results: list[Detections] = []
        for of_image, score, placement in zip(boxes, scores, placements, strict=True):
            chosen = self.select(of_image, score, spec.nms)
            chosen = replace(chosen, xyxy=placement.to_image(chosen.xyxy))
            chosen = chosen.take((chosen.xyxy[:, 2:] > chosen.xyxy[:, :2]).all(1))
            if self.classes is not None:
                chosen = self._of_classes(chosen).take(slice(self.max_det))
            results.append(chosen)
        return results

    def select(self, boxes: Tensor, scores: Tensor, nms: bool = True) -> Detections:
        """Threshold the scores of one image, and suppress boxes greedily.

        Args:
            boxes: Corners x1, y1, x2, y2 in any unit, [k, 4].
            scores: Objectness times class probability, [k, C]; above `conf` a box counts.
            nms: False for a head that was trained to find each object once. A box then counts for
                every class above `conf`, as in Ultralytics, or, with `agnostic_nms`, for the best
                alone, and duplicates alone are suppressed.
        """
        iou, several = self.largest_overlap(nms), self.multi_label
        if not nms:
            several = not self.agnostic_nms
        if several:
            index, class_id = (scores > self.conf).nonzero(as_tuple=True)
            every = Detections(boxes[index].float(), scores[index, class_id].float(), class_id)
        else:
            confidence, class_id = scores.max(1)
            every = Detections(boxes.float(), confidence.float(), class_id)
            every = every.take(confidence > self.conf)
        every = every.take(every.xyxy.isfinite().all(1))
        if self.agnostic_nms:
            # Boxes of other classes must not suppress any.
            every = self._of_classes(every)
            order = ops.nms(every.xyxy, every.confidence, iou)
        else:
            order = ops.batched_nms(every.xyxy, every.confidence, every.class_id, iou)
        # Boxes of other classes, which are dropped later, must not use up max_det.
        if self.classes is None:
            order = order[: self.max_det]
        return every.take(order)

    def _of_classes(self, boxes: Detections) -> Detections:
        if self.classes is None:
            return boxes
        return boxes.take(torch.isin(boxes.class_id, torch.tensor(self.classes, dtype=torch.int64)))


def class_ids(classes: Classes | None, names: Sequence[str]) -> tuple[int, ...] | None:
    """Ids of classes given by name or id, one or several: "dog", 16, ["dog", 2]; None, for all,
    stays None.

    Text that is no name may be an id, as on a command line. Raises UserError for a class that
    `names` lacks.
    """
    if classes is None:
        return None
    if isinstance(classes, str) or not isinstance(classes, Iterable):
        classes = [classes]
    return tuple(_class_id(one, names) for one in classes)


def _class_id(one: Any, names: Sequence[str]) -> int:
    name = str(one).strip()
    if isinstance(one, str) and name in names:
        return list(names).index(name)
    # Names may differ in case, or be COCO's tv where the network says tvmonitor.
    (index,) = match_names([name], names)
    if isinstance(one, str) and index >= 0:
        return index
    number = whole(name)
    if number is not None and number < len(names):
        return number
    hint = did_you_mean(name, names)
    hint = hint or f"; give ids in 0..{len(names) - 1} or names such as {names[0]}"
    raise UserError(f"classes: no class {name[:80]!r}{hint}")


def check_count(name: str, value: Any, most: int = LARGEST_INTEGER) -> int:
    """A whole number from 1 to `most`. Raises UserError, naming the argument, for anything else."""
    whole_number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if whole_number and 1 <= value <= most:
        return int(value)
    raise UserError(f"{name} must be a whole number from 1 to {most}, such as 1, not {value!r}")


def checked_steps(steps: Any, T: int | None) -> list[int]:
    """One timestep or several, each from 1 to T, as a list. Raises UserError as `check_count`."""
    values = steps if isinstance(steps, Iterable) else [steps]
    return [check_count("steps", t, T or LARGEST_INTEGER) for t in values]
