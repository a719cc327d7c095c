"""Reading images, fitting them into a network's input, and mapping boxes back."""

import math
import os
import warnings
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.io.names import reason

# What Pillow may decode. Its other formats are rare, or leave the work to programs: EPS is handed
# to Ghostscript.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")  # JPEG has MPO in it
ImageSource = str | os.PathLike[str] | np.ndarray | Image.Image
Resize = Literal["letterbox", "letterbox-114", "stretch", "crop"]
GREY = 0.5
# pixels; annotated pictures are JPEGs.
SIDE = 65_500
# Pixels at most of a picture that is enlarged to be cropped.
RESIZED = 1 << 25

# Pillow warns, in two lines, of half of what it refuses.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class InputFormat(Protocol):
    """How images enter a network (see models.spec.Spec): input size in pixels, how images are
    resized to it, and the per-channel mean and standard deviation that normalise values in [0, 1].
    """

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def resize(self) -> Resize: ...
    @property
    def mean(self) -> tuple[float, ...]: ...
    @property
    def std(self) -> tuple[float, ...]: ...


class Picture(NamedTuple):
    """An image that is read on use, and its name in records."""

    name: str
    source: ImageSource

    @classmethod
    def file(cls, path: str) -> "Picture":
        return cls(os.path.basename(path), path)


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """An image file whose content is of one of FORMATS, whatever its suffix says; decoded on use,
    to be closed.

    The only place that opens one. Raises UserError, naming the file, when it is missing, empty or
    not an image.
    """
    name = os.fspath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise UserError(
            f"cannot read {name} as an image: it is no file; give a complete image file"
        )
    try:
        if os.path.getsize(path) > 0:
            image = Image.open(path, formats=FORMATS)
            if max(image.size) > SIDE:
                image.close()
                raise ValueError(
                    f"a side of {max(image.size)} pixels is more than {SIDE}, which no JPEG can"
                    " have"
                )
            return image
    except FileNotFoundError:
        raise UserError(f"{name} does not exist; check the path") from None
    except Exception as error:  # Pillow raises whatever the damage leads to
        raise _unreadable(name, error) from error
    raise UserError(f"{name} is empty; give an image")


def _unreadable(path: str, error: Exception) -> UserError:
    return UserError(f"cannot read {path} as an image: {reason(error)}; give a complete image file")


def read_image(source: ImageSource) -> np.ndarray:
    """The image as uint8 [H, W, 3] RGB, upright (EXIF rotation applied).

    source: a file; a PIL image; or an RGB array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] of uint8,
    uint16 or floats in [0, 1]. Transparency is dropped, 16 bits become 8, and an animation gives
    its first frame. Raises UserError, naming the file, when it is missing, empty, truncated,
    enormous or not an image.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _from_pil(source)
    with open_image(source) as image:
        try:
            return _from_pil(image)
        except UserError:
            raise
        except Exception as error:
            raise _unreadable(os.fspath(source), error) from error


def _from_pil(image: Image.Image) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16-bit greyscale, which convert("RGB") would clip to white
        return _from_array(np.asarray(image).clip(0, 65535).astype(np.uint16))
    if image.mode == "F":
        return _from_array(np.asarray(image))
    return np.array(image.convert("RGB"))


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        raise UserError(
            f"an image array of shape {array.shape} is not supported; give [H, W] or [H, W, 3]"
        )
    if np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):
            raise UserError(
                "a float image must have all values in [0, 1]; divide by 255 or give uint8"
            )
        array = np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    elif array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise UserError(
            f"an image array of {array.dtype} is not supported; give uint8, uint16 or float"
        )
    colours = array[..., :3] if array.shape[2] > 1 else array.repeat(3, 2)
    return np.ascontiguousarray(colours)


@dataclass(frozen=True)
class Placement:
    """Where an image lies in the network's input. All pairs are (width, height) in pixels.

    image: original size. resized: size within the input. pad: space to its left and above it.
    network: input size.
    """

    image: tuple[int, int]
    resized: tuple[int, int]
    pad: tuple[int, int]
    network: tuple[int, int]

    def to_image(self, boxes: Tensor) -> Tensor:
        """Boxes xyxy [..., 4], from fractions of the input to pixels of the original image, clipped
        to it.
        """
        pairs = (self.image, self.resized, self.pad, self.network)
        image, resized, pad, network = (boxes.new_tensor(pair * 2) for pair in pairs)
        pixels = (boxes * network - pad) * (image / resized)
        return pixels.clamp(min=0).minimum(image)


def place(width: int, height: int, spec: InputFormat) -> Placement:
    """Placement of a width x height image: stretched over the input, or centred with its aspect
    ratio kept.

    Sides are rounded down as in darknet, or to the nearest pixel as in Ultralytics, and are at
    least 1. For "crop" the image covers the input with a margin, one of its sides being 256 / 224
    of the input's (so `pad` is 0 or negative); rounded as in torchvision, whose inputs are square.
    """
    network = (spec.width, spec.height)
    if spec.resize == "crop":
        side, least = (
            (spec.height, height)
            if width * spec.height > height * spec.width
            else (spec.width, width)
        )
        side = side * 256 // 224
        resized = (int(side * width / least), int(side * height / least))
        if math.prod(resized) > RESIZED:
            raise UserError(
                f"an image of {width}x{height} pixels is too long and thin to be cropped: cut it to"
                " size"
            )
        pad = (-round((resized[0] - network[0]) / 2), -round((resized[1] - network[1]) / 2))
        return Placement((width, height), resized, pad, network)
    if spec.resize == "stretch":
        resized = network
    elif spec.resize == "letterbox-114":
        ratio = min(spec.height / height, spec.width / width)
        resized = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    elif spec.width / width < spec.height / height:
        resized = (spec.width, max(1, height * spec.width // width))
    else:
        resized = (max(1, width * spec.height // height), spec.height)
    pad = ((network[0] - resized[0]) // 2, (network[1] - resized[1]) // 2)
    return Placement((width, height), resized, pad, network)


def preprocess(image: np.ndarray, spec: InputFormat) -> tuple[Tensor, Placement]:
    """uint8 [H, W, 3] RGB to float32 [3, spec.height, spec.width], and where the image lies in it.

    Bilinear resizing; values in [0, 1], then (x - mean) / std. The letterbox is grey, 0.5 as in
    darknet or 114 / 255 as in Ultralytics, which also rounds resized values to whole 255ths.
    """
    placement = place(image.shape[1], image.shape[0], spec)
    canvas = _middle(image, placement) if spec.resize == "crop" else _framed(image, placement, spec)
    canvas = (canvas - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)
    return torch.from_numpy(np.ascontiguousarray(canvas.transpose(2, 0, 1))), placement


def _middle(image: np.ndarray, placement: Placement) -> np.ndarray:
    """The centre crop of torchvision's evaluation, resized by Pillow, which antialiases."""
    (width, height), (left, top) = placement.network, placement.pad
    resized = np.asarray(
        Image.fromarray(image).resize(placement.resized, Image.Resampling.BILINEAR), np.float32
    )
    return resized[-top : height - top, -left : width - left] / 255


def _framed(image: np.ndarray, placement: Placement, spec: InputFormat) -> np.ndarray:
    (width, height), (left, top) = placement.resized, placement.pad
    whole = spec.resize == "letterbox-114"
    canvas = np.full((spec.height, spec.width, 3), 114 / 255 if whole else GREY, np.float32)
    source = image if whole else image.astype(np.float32)
    resized = cv2.resize(source, placement.resized, interpolation=cv2.INTER_LINEAR).astype(
        np.float32
    )
    # Rounding lets interpolation overshoot by one part in ten million.
    canvas[top : top + height, left : left + width] = (resized / 255).clip(0, 1)
    return canvas
