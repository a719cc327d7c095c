"""Detections drawn on a photograph, and photographs side by side."""

from collections.abc import Sequence
from dataclasses import replace
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


@lru_cache(maxsize=256)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
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


def measure(text: str, size: int) -> tuple[int, int, int]:
    """(width, height, margin) in pixels of `text` with a margin all round; the height is the same
    for any text.
    """
    margin = max(1, size // 5)
    return int(font(size).getlength(text)) + 1 + 2 * margin, size + 2 * margin, margin


def fit_text(texts: Sequence[str], size: int, width: int, height: int) -> tuple[str, int] | None:
    """Choose the first of `texts` that fits into width x height pixels.

    A text shrinks to half of `size` before the next is tried.

    Returns:
        The text and its font size, or None if no text fits at a readable size.
    """
    for text in texts:
        for s in range(size, max(SMALLEST, size // 2) - 1, -1):
            w, h, _ = measure(text, s)
            if w <= width and h <= height:
                return text, s
    return None


def put_text(
    draw: ImageDraw.ImageDraw, left: int, top: int, text: str, size: int, colour: Any
) -> None:
    """Write `text` into a cell of the size that `measure` gives, with its upper left corner at
    (left, top).
    """
    _, height, margin = measure(text, size)
    draw.text((left + margin, top + height / 2), text, colour, font(size), anchor="lm")


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
    strip_height = measure("", size)[1]
    strip = Image.new("RGB", (width, strip_height), PAPER)
    shortened = [text] + [text[:n].rstrip() + "…" for n in range(min(len(text) - 1, width), 0, -1)]
    if text and (fitting := fit_text(shortened, size, width, strip_height)):
        chosen, s = fitting
        top = (strip_height - measure(chosen, s)[1]) // 2
        put_text(ImageDraw.Draw(strip), 0, top, chosen, s, INK)
    return np.concatenate([np.asarray(strip), image])


# Left, top, right, bottom in pixels; right and bottom are exclusive.
Rectangle = tuple[int, int, int, int]


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

    A label lies inside the picture, where it overlaps labels of better boxes least.

    Args:
        image: uint8 RGB [H, W, 3]; it stays as it is.
        detections: Boxes in pixels of the image.
        names: Of the classes, by id.
        title: Text on a strip above the picture, which increases H.
        line_width: Of the boxes in pixels; by default as the size of the picture needs.
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
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    items = _visible(detections, names, width, height)
    thickness = line_width or max(1, round(text_size(height, width) / 6))
    for (left, top, right, bottom), colour, _, _ in reversed(items):
        draw.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=thickness)
    cells: list[Rectangle] = []
    labels: list[tuple[Rectangle, tuple[str, int], Colour]] = []
    for box, colour, label, confidence in () if hide_labels else items:
        texts = [label]
        if not hide_conf:
            texts.insert(0, f"{label} {confidence:.2f}")
        fitting = fit_text(texts, text_size(height, width), width, height)
        if fitting is not None:
            label_width, label_height, _ = measure(*fitting)
            cell = _place(box, label_width, label_height, width, height, cells)
            cells.append(cell)
            labels.append((cell, fitting, colour))
    for (left, top, right, bottom), fitting, colour in reversed(labels):
        draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)
        put_text(draw, left, top, *fitting, text_colour(colour))
    drawn = np.array(picture)
    return drawn if title is None else caption(drawn, title)


def side_by_side(images: Sequence[np.ndarray], titles: Sequence[str]) -> np.ndarray:
    """Put pictures in one row, each under its title, scaled to the height of the tallest.

    Args:
        images: uint8 RGB [H_i, W_i, 3].
        titles: One per image.

    Raises:
        UserError: There is no image, or the number of titles differs.
    """
    if not images or len(images) != len(titles):
        raise UserError(
            f"{len(images)} pictures and {len(titles)} titles; give one title per picture, at"
            " least one"
        )
    height = max(check_image(image).shape[0] for image in images)
    widths = [max(1, round(image.shape[1] * height / image.shape[0])) for image in images]
    size = round(1.1 * text_size(height, max(widths)))
    gutter = np.full((height + measure("", size)[1], max(2, height // 60), 3), PAPER, np.uint8)
    row: list[np.ndarray] = []
    for image, width, title in zip(images, widths, titles, strict=True):
        if image.shape[0] != height:
            image = np.asarray(
                Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
            )
        row += [caption(image, title, size), gutter]
    return np.concatenate(row[:-1], axis=1)


def _visible(
    detections: Detections, names: Sequence[str], width: int, height: int
) -> list[tuple[Rectangle, Colour, str, float]]:
    """Boxes inside of the picture, clipped to whole pixels, with colour, label and confidence."""
    boxes = detections.xyxy.double()
    limits = boxes.new_tensor([width, height, width, height])
    pixels = torch.cat([boxes[:, :2].floor(), boxes[:, 2:].ceil()], 1).clamp(min=0).minimum(limits)
    inside = boxes.isfinite().all(1) & (pixels[:, 2:] > pixels[:, :2]).all(1)
    visible = replace(detections, xyxy=pixels).take(inside)
    tracks = None if visible.track_id is None else visible.track_id.tolist()
    items: list[tuple[Rectangle, Colour, str, float]] = []
    for i, ((x1, y1, x2, y2), class_id, confidence) in enumerate(
        zip(
            visible.xyxy.long().tolist(),
            visible.class_id.tolist(),
            visible.confidence.tolist(),
            strict=True,
        )
    ):
        colour, label = class_colour(class_id), names[int(class_id)]
        if tracks is not None:
            colour = track_colour(tracks[i])
            if tracks[i] != NO_TRACK:
                label = f"{tracks[i]} {label}"
        items.append(((x1, y1, x2, y2), colour, label, confidence))
    return items


def _place(
    box: Rectangle, w: int, h: int, width: int, height: int, placed: Sequence[Rectangle]
) -> Rectangle:
    """Where the w x h label of `box` goes: the first cell, in order of preference, that overlaps
    `placed` least.
    """
    left, top, right, bottom = box
    cells: list[Rectangle] = []
    for y in (top - h, top, bottom - h, bottom):
        row = max(0, min(y, height - h))
        for x in (left, right - w):
            column = max(0, min(x, width - w))
            cells.append((column, row, column + w, row + h))
    return min(cells, key=lambda cell: sum(_overlap(cell, other) for other in placed))


def _overlap(a: Rectangle, b: Rectangle) -> int:
    """Pixels that both cover."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height)
