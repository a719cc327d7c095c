"""Arguments of the Python interface, checked before anything is computed."""

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from spiking_yolo.decode.selection import is_whole
from spiking_yolo.errors import UserError
from spiking_yolo.io.images import read_image


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
    """Raise UserError unless this may be an image, so far as that can be told without reading a file."""
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
        raise UserError(f"image must be a path, a PIL image or an RGB array [H, W, 3], not {kind(image)}; {way}")


def kind(value: object) -> str:
    """What a value is, for a message."""
    return "None" if value is None else type(value).__name__


def path_of(image: object) -> str | None:
    """The file of an image, None for one that is given as pixels."""
    return os.fspath(image) if isinstance(image, (str, os.PathLike)) else None
