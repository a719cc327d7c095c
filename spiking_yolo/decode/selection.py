"""Which boxes of a network's output count, as its user says it: checked, then applied."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.yolo import detections
from spiking_yolo.errors import UserError
from spiking_yolo.io.images import Placement
from spiking_yolo.io.names import whole
from spiking_yolo.io.near import did_you_mean
from spiking_yolo.models.spec import Spec

Classes = str | int | Iterable[str | int]


@dataclass(frozen=True)
class Selection:
    """Thresholds of non-maximum suppression, and the classes to keep.

    conf: keep boxes whose confidence is above it. iou: a box is suppressed when it overlaps a better one of its class
    by more. max_det: the best so many boxes of the kept classes. classes: ids, None for all.
    Raises UserError, naming the argument, for a wrong type or range.
    """

    conf: float = 0.25
    iou: float = 0.45
    max_det: int = 300
    classes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("conf", "iou"):
            value = getattr(self, name)
            if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) <= 1:
                raise UserError(f"{name} must be a number in 0..1, not {value!r}")
        check_count("max_det", self.max_det)

    def boxes(self, outputs: Sequence[Tensor], spec: Spec, placement: Placement) -> Detections:
        """The boxes of one image, in its pixels, off the raw head outputs [1, ...] of the network."""
        heads = [output.cpu() for output in outputs]
        limit = self.max_det if self.classes is None else 10**6  # boxes of other classes must not use up max_det
        every = detections(heads, spec, [placement], self.conf, self.iou, limit, multi_label=False)[0]
        if self.classes is None:
            return every
        kept = torch.isin(every.class_id, torch.tensor(self.classes, dtype=torch.int64))
        return every.take(kept).take(slice(self.max_det))


def class_ids(classes: Classes | None, names: Sequence[str]) -> tuple[int, ...] | None:
    """Ids of classes given by name or id, one or several: "dog", 16, ["dog", 2]; None, for all, stays None.

    Text that is no name may be an id, as on a command line. Raises UserError for a class that `names` lacks.
    """
    if classes is None:
        return None
    if isinstance(classes, (str, int, np.integer)):
        classes = [classes]
    if isinstance(classes, (bytes, dict)) or not isinstance(classes, Iterable):
        raise UserError(f"classes must be names or ids such as {names[0]!r} or 0, not {classes!r}")
    return tuple(_class_id(one, names) for one in classes)


def _class_id(one: Any, names: Sequence[str]) -> int:
    if isinstance(one, str):
        name = one.strip()
        if name in names:
            return list(names).index(name)
        number = whole(name)
        one = name if number is None else number
    if is_whole(one) and 0 <= one < len(names):
        return int(one)
    hint = did_you_mean(one, names) if isinstance(one, str) else ""
    hint = hint or f"; give ids in 0..{len(names) - 1} or names such as {names[0]}"
    raise UserError(f"classes: no class {one!r}{hint}")


def check_count(name: str, value: Any) -> int:
    """A whole number of at least 1. Raises UserError, naming the argument, for anything else."""
    if not is_whole(value) or value < 1:
        raise UserError(f"{name} must be a whole number of at least 1, such as 64, not {value!r}")
    return int(value)


def is_whole(value: object) -> bool:
    """Whether it is an integer, of Python or NumPy; True and False are not."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
