"""Which boxes of a network's output count, as its user says it: checked, then applied."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from spiking_yolo.data.images import Placement, read_image
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.heads import detections
from spiking_yolo.errors import UserError
from spiking_yolo.io.names import did_you_mean, whole
from spiking_yolo.models.spec import Spec

Classes = str | int | Iterable[str | int]


@dataclass(frozen=True)
class Selection:
    """Thresholds of non-maximum suppression, and the classes to keep.

    conf: keep boxes whose confidence is above it. iou: a box is suppressed when it overlaps a
    better one of its class by more. max_det: the best so many boxes of the kept classes. classes:
    ids, None for all. Raises UserError, naming the argument, for a wrong type or range.
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
        """The boxes of one image, in its pixels, off the raw head outputs [1, ...] of the
        network.
        """
        heads = [output.cpu() for output in outputs]
        # Boxes of other classes must not use up max_det.
        limit = self.max_det if self.classes is None else 10**6
        every = detections(heads, spec, [placement], self.conf, self.iou, limit, multi_label=False)[
            0
        ]
        if self.classes is None:
            return every
        kept = torch.isin(every.class_id, torch.tensor(self.classes, dtype=torch.int64))
        return every.take(kept).take(slice(self.max_det))


def class_ids(classes: Classes | None, names: Sequence[str]) -> tuple[int, ...] | None:
    """Ids of classes given by name or id, one or several: "dog", 16, ["dog", 2]; None, for all,
    stays None.

    Text that is no name may be an id, as on a command line. Raises UserError for a class that
    `names` lacks.
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


def checked_steps(steps: Any, T: int) -> list[int]:
    """One timestep or several, each in 1..T, as a list. Raises UserError for anything else."""
    several = isinstance(steps, Iterable) and not isinstance(steps, (str, bytes))
    values: list[Any] = list(steps) if several else [steps]
    if not all(is_whole(t) and 1 <= t <= T for t in values):
        raise UserError(f"steps must be whole numbers in 1..T={T}, such as [{T}], not {steps!r}")
    return [int(t) for t in values]


def check_flags(**flags: object) -> None:
    """Raise UserError unless all are True or False."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise UserError(f"{name} must be True or False, not {value!r}")


def check_image(image: object) -> None:
    """Raise UserError unless this may be an image, so far as that can be told without reading a
    file.
    """
    if isinstance(image, (str, os.PathLike)):
        if not os.path.exists(image):
            raise UserError(f"{os.fspath(image) or repr(image)} does not exist; check the path")
    elif isinstance(image, np.ndarray):
        read_image(image)
    elif not isinstance(image, Image.Image):
        way = "give one of these"
        if isinstance(image, Tensor):
            way = "give an array: tensor.permute(1, 2, 0).cpu().numpy() of one [3, H, W]"
        elif isinstance(image, bytes):
            way = "open them: PIL.Image.open(io.BytesIO(data))"
        raise UserError(
            f"image must be a path, a PIL image or an RGB array [H, W, 3], not {kind(image)}; {way}"
        )


def kind(value: object) -> str:
    """What a value is, for a message."""
    return "None" if value is None else type(value).__name__


def path_of(image: object) -> str | None:
    """The file of an image, None for one that is given as pixels."""
    return os.fspath(image) if isinstance(image, (str, os.PathLike)) else None
