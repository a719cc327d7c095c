"""Reading images, fitting them into a network's input, and mapping boxes back."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import regular, sha256
from spiking_yolo.io.text import reason

if TYPE_CHECKING:
    from spiking_yolo.models.spec import Spec

# Formats that Pillow may decode; JPEG includes MPO. Others are rare, or handed to other programs,
# as EPS is to Ghostscript.
FORMATS = ("AVIF", "JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
ImageSource = str | os.PathLike[str] | np.ndarray | Image.Image
Resize = Literal["letterbox", "letterbox-114", "stretch"]
# The grey of the letterbox in darknet, half of 255, and in Ultralytics.
GREY, GREY_114 = 128, 114
_EXIF_ORIENTATION, _QUARTER_TURNS = 0x0112, {5, 6, 7, 8}


class Picture(NamedTuple):
    """An image that is read on use, and its name in records."""

    name: str
    source: ImageSource

    @classmethod
    def file(cls, path: str) -> "Picture":
        return cls(os.path.basename(path), path)

    @property
    def identity(self) -> str:
        """The name with a checksum: other folders may have pictures of the same name."""
        digest = ""
        if isinstance(self.source, np.ndarray):
            digest = hashlib.sha256(self.source.tobytes()).hexdigest()
        elif isinstance(self.source, str) and os.path.isfile(self.source):
            digest = sha256(self.source)
        return f"{self.name}|{digest}"


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Open an image file of one of FORMATS, whatever its suffix says; it is decoded on use.

    The only place that opens image files. The caller closes it.

    Raises:
        UserError: The file is missing, empty or not an image.
    """
    try:
        return Image.open(regular(os.fspath(path)), formats=FORMATS)
    except FileNotFoundError:
        raise UserError(f"{os.fspath(path)} does not exist; check the path") from None
    except Exception as error:  # Pillow raises whatever the damage leads to
        raise _unreadable(os.fspath(path), error) from error


def _unreadable(path: str, error: Exception) -> UserError:
    return UserError(f"cannot read {path} as an image: {reason(error)}; give a complete image file")


def displayed_size(image: Path) -> tuple[int, int]:
    """(width, height) in pixels as displayed (EXIF rotation applied), from the header only."""
    with open_image(image) as photo:
        width, height = photo.size
        try:
            turned = photo.getexif().get(_EXIF_ORIENTATION) in _QUARTER_TURNS
            # Pillow has turned the size of a TIFF already.
            if turned and photo.format != "TIFF":
                width, height = height, width
        except Exception:
            # Pillow raises whatever the damage leads to; decoders ignore it.
            pass
    return width, height


def read_image(source: ImageSource, bgr: bool = False) -> np.ndarray:
    """The image as uint8 [H, W, 3] RGB, upright (EXIF rotation applied).

    Transparency is dropped, 16 bits become 8, and an animation gives its first frame.

    Args:
        source: A file; a PIL image; or an RGB array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] of
            uint8, uint16 or floats in [0, 1].
        bgr: Whether arrays have the channel order of OpenCV.

    Raises:
        UserError: The file is missing, empty, truncated, enormous or not an image, which is named;
            or the source is of another type.
    """
    if isinstance(source, np.ndarray):
        image = _from_array(source)
        return np.ascontiguousarray(image[..., ::-1]) if bgr else image
    if isinstance(source, Image.Image):
        return _from_pil(source, getattr(source, "filename", "") or "the PIL image")
    if not isinstance(source, str | os.PathLike):
        kind = type(source).__name__
        raise UserError(f"an image is a path, a PIL image or an RGB array [H, W, 3], not {kind}")
    with open_image(source) as image:
        return _from_pil(image, os.fspath(source))


def _from_pil(image: Image.Image, name: str) -> np.ndarray:
    try:
        image = ImageOps.exif_transpose(image)
        # convert("RGB") would clip 16-bit greyscale to white.
        if image.mode.startswith("I"):
            return _from_array(np.asarray(image).clip(0, 65535).astype(np.uint16))
        if image.mode == "F":
            return _from_array(np.asarray(image))
        return np.array(image.convert("RGB"))
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    except Exception as error:
        raise _unreadable(name, error) from error


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    floats = np.issubdtype(array.dtype, np.floating)
    fit = array.ndim == 3 and array.shape[2] in (1, 3, 4) and array.size > 0
    if not fit or (floats and not (array.min() >= 0 and array.max() <= 1)):
        given = f"{array.dtype} {array.shape}"
        raise UserError(f"{given} is no image: give [H, W] or [H, W, 3], floats in [0, 1]")
    if floats:
        array = np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    elif array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise UserError(f"an image array of {array.dtype} cannot be read; give uint8 or float")
    if array.shape[2] == 1:
        array = array.repeat(3, 2)
    return np.ascontiguousarray(array[..., :3])


@dataclass(frozen=True)
class Placement:
    """The place of an image in the network's input. All pairs are (width, height) in pixels.

    Attributes:
        image: Original size.
        resized: Size within the input.
        pad: Space to its left and above it.
        network: Input size.
    """

    image: tuple[int, int]
    resized: tuple[int, int]
    pad: tuple[int, int]
    network: tuple[int, int]

    def to_image(self, boxes: Tensor) -> Tensor:
        """Boxes xyxy [..., 4] in pixels of the image, clipped, from fractions of the input."""
        pairs = (self.image, self.resized, self.pad, self.network)
        image, resized, pad, network = (boxes.new_tensor(pair * 2) for pair in pairs)
        return ((boxes * network - pad) * (image / resized)).clamp(min=0).minimum(image)


def place(width: int, height: int, spec: "Spec") -> Placement:
    """Placement of a width x height image: stretched, or centred with its aspect ratio.

    Sides are rounded down as in darknet, or to the nearest pixel as in Ultralytics, and
    are at least 1.
    """
    network = (spec.width, spec.height)
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


def preprocess(image: np.ndarray, spec: "Spec") -> tuple[Tensor, Placement]:
    """The network's input, uint8 [3, spec.height, spec.width], and where the image lies in it.

    Bilinear resizing, rounded to bytes once: of floats, as in darknet, or in OpenCV's arithmetic of
    bytes, as in Ultralytics. The letterbox is grey. In memory the channels come last.

    Args:
        image: uint8 [H, W, 3] RGB.
        spec: The network's input; `Spec.normalised` makes the ANN's floats of the bytes.
    """
    placement = place(image.shape[1], image.shape[0], spec)
    width, height = placement.resized
    left, top = placement.pad
    source, grey = image, GREY_114
    if spec.resize != "letterbox-114":
        source, grey = image.astype(np.float32), GREY
    resized = cv2.resize(source, placement.resized, interpolation=cv2.INTER_LINEAR)
    canvas = np.full((spec.height, spec.width, 3), grey, np.uint8)
    # convertScaleAbs rounds to the nearest, as np.rint does.
    canvas[top : top + height, left : left + width] = cv2.convertScaleAbs(resized)
    return torch.from_numpy(canvas).movedim(-1, 0), placement


def preprocessed(pictures: Sequence[Picture], spec: "Spec") -> Sequence[Tensor]:
    """Batches of images as the ANN takes them, [N, C, H, W], of spec.images_at_once."""
    images = [preprocess(read_image(picture.source), spec)[0] for picture in pictures]
    return spec.normalised(torch.stack(images)).split(spec.images_at_once)
