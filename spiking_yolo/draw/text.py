"""Readable text that fits into a picture, and captions."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from spiking_yolo.errors import UserError

SMALLEST = 8  # pixels; smaller glyphs of Pillow's built-in font cannot be read
INK, PAPER = (20, 20, 20), (255, 255, 255)


@lru_cache(maxsize=256)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def check_image(image: np.ndarray) -> np.ndarray:
    """Return the image. Raises UserError unless it is uint8 [H, W, 3] with at least one pixel."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise UserError(f"cannot draw on {image.dtype} {image.shape}; give a uint8 RGB image [H, W, 3]")
    return image


def text_size(height: int, width: int) -> int:
    """Font size in pixels for a height x width picture that is viewed as a whole."""
    return max(11, round(0.024 * (height * width) ** 0.5))


def measure(text: str, size: int) -> tuple[int, int, int]:
    """(width, height, margin) in pixels of `text` with a margin all round; the height is the same for any text."""
    margin = max(1, size // 5)
    return int(font(size).getlength(text)) + 1 + 2 * margin, size + 2 * margin, margin


def fit_text(texts: Sequence[str], size: int, width: int, height: int) -> tuple[str, int] | None:
    """The first of `texts` that fits into width x height pixels, and its font size, at most `size`.

    A text shrinks to half of `size` before the next is tried. None when none fits at a readable size.
    """
    for text in texts:
        for s in range(size, max(SMALLEST, size // 2) - 1, -1):
            w, h, _ = measure(text, s)
            if w <= width and h <= height:
                return text, s
    return None


def put_text(draw: ImageDraw.ImageDraw, left: int, top: int, text: str, size: int, colour: Any) -> None:
    """Write `text` into a cell of the size that `measure` gives, with its upper left corner at (left, top)."""
    _, height, margin = measure(text, size)
    draw.text((left + margin, top + height / 2), text, colour, font(size), anchor="lm")


def caption(image: np.ndarray, text: str, size: int | None = None) -> np.ndarray:
    """uint8 [H, W, 3] to [H + strip, W, 3]: adds `text` on a white strip on top.

    size: font size in pixels, by default one that suits the picture; it alone sets the strip's height. Text that would
    be too small to read is cut with an ellipsis.
    """
    height, width = check_image(image).shape[:2]
    size = size or round(1.1 * text_size(height, width))
    strip_height = measure("", size)[1]
    strip = Image.new("RGB", (width, strip_height), PAPER)
    shortened = [text] + [text[:n].rstrip() + "…" for n in range(min(len(text) - 1, width), 0, -1)]
    if text and (fitting := fit_text(shortened, size, width, strip_height)):
        chosen, s = fitting
        top = (strip_height - measure(chosen, s)[1]) // 2
        put_text(ImageDraw.Draw(strip), 0, top, chosen, s, INK)
    return np.concatenate([np.asarray(strip), image])
