"""Detections drawn on a photograph, and photographs side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.tracking import NO_TRACK
from spiking_yolo.draw.colours import Colour, class_colour, text_colour, track_colour
from spiking_yolo.errors import UserError

# Pixels; smaller glyphs of Pillow's built-in font cannot be read.
SMALLEST = 8
INK = (20, 20, 20)
PAPER = (255, 255, 255)
# Left, top, right, bottom in pixels; right and bottom are exclusive.
Rectangle = tuple[int, int, int, int]


@lru_cache(maxsize=256)
def font(size: int) -> Any:
    return ImageFont.load_default(size)


def check_image(image: np.ndarray) -> np.ndarray:
    """Return the image. Raises UserError unless it is uint8 [H, W, 3] with at least one pixel."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise UserError(
            f"cannot draw on {image.dtype} {image.shape}; give a uint8 RGB image [H, W, 3]"
        )
    return image


def text_size(height: int, width: int) -> int:
    """Font size in pixels for a height x width picture that is viewed as a whole."""
    return max(11, round(0.024 * (height * width) ** 0.5))


@dataclass(frozen=True)
class Text:
    """A text on a coloured cell, with a margin all round; its height is the same for any text."""

    text: str
    size: int

    @property
    def margin(self) -> int:
        return max(1, self.size // 5)

    @property
    def width(self) -> int:
        return int(font(self.size).getlength(self.text)) + 1 + 2 * self.margin

    @property
    def height(self) -> int:
        return self.size + 2 * self.margin

    def fits(self, width: int, height: int) -> bool:
        return self.width <= width and self.height <= height

    def draw(self, draw: ImageDraw.ImageDraw, left: int, top: int, colour: Colour) -> None:
        """Into the cell whose upper left corner is at (left, top)."""
        at = (left + self.margin, top + self.height / 2)
        draw.text(at, self.text, colour, font(self.size), anchor="lm")


def caption(image: np.ndarray, text: str, size: int | None = None) -> np.ndarray:
    """Add text on a white strip above a picture; text that does not fit ends with an ellipsis.

    Args:
        image: uint8 RGB [H, W, 3].
        text: One line.
        size: Font size in pixels, which sets the height of the strip. Default: by the picture.

    Returns:
        uint8 RGB [H + strip, W, 3].
    """
    height, width = check_image(image).shape[:2]
    size = size or round(1.1 * text_size(height, width))
    strip = Image.new("RGB", (width, Text("", size).height), PAPER)
    shown = Text(text, size)
    # No character is narrower than a pixel.
    for length in range(min(len(text), width) - 1, 0, -1):
        if shown.fits(*strip.size):
            break
        shown = Text(text[:length].rstrip() + "…", size)
    shown.draw(ImageDraw.Draw(strip), 0, 0, INK)
    return np.concatenate([np.asarray(strip), image])


def draw_detections(
    image: np.ndarray,
    detections: Detections,
    names: Sequence[str],
    title: str | None = None,
    *,
    line_width: int | None = None,
    hide_labels: bool = False,
    hide_conf: bool = False,
) -> np.ndarray:
    """Draw boxes with labels "class confidence", the most confident on top.

    Tracked boxes have a colour per track, and its number in front: "3 person 0.62".

    Args:
        image: uint8 RGB [H, W, 3]; it stays as it is.
        detections: Boxes in pixels of the image.
        names: Class names, by id.
        title: Text on a strip above the picture, which increases H.
        line_width: Width of the boxes' lines in pixels; by default by the size of the picture.
        hide_labels: Draw the boxes alone.
        hide_conf: Write the class alone.

    Returns:
        uint8 RGB [H, W, 3].

    Raises:
        UserError: The image is not uint8 RGB, or a class has no name.
    """
    height, width = check_image(image).shape[:2]
    if any(not 0 <= c < len(names) for c in detections.class_id.tolist()):
        raise UserError(
            f"a class id is not among the {len(names)} names; give the names the model was"
            " trained on"
        )
    size = text_size(height, width)
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    boxes, visible = _visible(detections, width, height)
    colours = list(map(class_colour, visible.class_id.tolist()))
    if visible.track_id is not None:
        colours = list(map(track_colour, visible.track_id.tolist()))
    thickness = line_width or max(1, round(size / 6))
    for (left, top, right, bottom), colour in reversed(list(zip(boxes, colours, strict=True))):
        draw.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=thickness)
    labels: list[tuple[int, int, Text, Colour]] = []
    written: list[str] = []
    if not hide_labels:
        written = _labels(visible, names)
    for k, name in enumerate(written):
        label = Text(name, size)
        confident = Text(f"{name} {float(visible.confidence[k]):.2f}", size)
        if not hide_conf and confident.fits(width, height):
            label = confident
        if label.fits(width, height):
            # Above the box, as far as that is inside of the picture.
            left = max(0, min(boxes[k][0], width - label.width))
            labels.append((left, max(0, boxes[k][1] - label.height), label, colours[k]))
    for left, top, label, colour in reversed(labels):
        draw.rectangle((left, top, left + label.width - 1, top + label.height - 1), fill=colour)
        label.draw(draw, left, top, text_colour(colour))
    drawn = np.array(picture)
    if title is not None:
        drawn = caption(drawn, title)
    return drawn


def side_by_side(images: Sequence[np.ndarray], titles: Sequence[str]) -> np.ndarray:
    """Put pictures of one height in a row, each under its title.

    Args:
        images: uint8 RGB [H, W_i, 3].
        titles: One per image.
    """
    size = round(1.1 * text_size(images[0].shape[0], max(image.shape[1] for image in images)))
    row: list[np.ndarray] = []
    for image, title in zip(images, titles, strict=True):
        titled = caption(image, title, size)
        row += [titled, np.full((len(titled), max(2, len(titled) // 60), 3), PAPER, np.uint8)]
    return np.concatenate(row[:-1], axis=1)


def _visible(detections: Detections, width: int, height: int) -> tuple[list[Rectangle], Detections]:
    """The boxes inside of the picture: clipped to whole pixels, and as they are."""
    boxes = detections.xyxy.double()
    limits = boxes.new_tensor([width, height, width, height])
    pixels = torch.cat([boxes[:, :2].floor(), boxes[:, 2:].ceil()], 1).clamp(min=0).minimum(limits)
    inside = boxes.isfinite().all(1) & (pixels[:, 2:] > pixels[:, :2]).all(1)
    return list(map(tuple, pixels[inside].long().tolist())), detections.take(inside)


def _labels(boxes: Detections, names: Sequence[str]) -> list[str]:
    """The class of each box, with the number of its track in front."""
    labels = [names[int(c)] for c in boxes.class_id]
    if boxes.track_id is not None:
        for k, track in enumerate(boxes.track_id.tolist()):
            if track != NO_TRACK:
                labels[k] = f"{track} {labels[k]}"
    return labels
