"""Detections drawn on a photograph, and photographs side by side."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw

from spiking_yolo.decode.boxes import Detections
from spiking_yolo.draw.palette import class_colour, text_colour
from spiking_yolo.draw.text import PAPER, caption, check_image, fit_text, measure, put_text, text_size
from spiking_yolo.errors import UserError

Rectangle = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom exclusive


def draw_detections(
    image: np.ndarray, detections: Detections, names: Sequence[str], title: str | None = None
) -> np.ndarray:
    """A copy of a uint8 [H, W, 3] RGB image with boxes, and labels "class confidence" inside the picture.

    Frames are drawn inside their boxes, the best detection on top; a label goes where it overlaps better ones least.
    title: adds a caption strip on top, which increases H.
    Raises UserError when the image is not uint8 RGB or a class has no name.
    """
    height, width = check_image(image).shape[:2]
    if any(not 0 <= c < len(names) for c in detections.class_id.tolist()):
        raise UserError(f"a class id is not among the {len(names)} names; give the names the model was trained on")
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    items = _visible(detections, width, height)
    thickness = max(1, round(text_size(height, width) / 6))
    for (left, top, right, bottom), class_id, _ in reversed(items):
        draw.rectangle((left, top, right - 1, bottom - 1), outline=class_colour(class_id), width=thickness)
    labels: list[tuple[Rectangle, tuple[str, int], int]] = []
    for box, class_id, confidence in items:
        texts = (f"{names[class_id]} {confidence:.2f}", names[class_id])
        if fitting := fit_text(texts, text_size(height, width), width, height):
            cell = _place(box, *measure(*fitting)[:2], width, height, [placed for placed, *_ in labels])
            labels.append((cell, fitting, class_id))
    for (left, top, right, bottom), fitting, class_id in reversed(labels):
        colour = class_colour(class_id)
        draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)
        put_text(draw, left, top, *fitting, text_colour(colour))
    drawn = np.array(picture)
    return drawn if title is None else caption(drawn, title)


def side_by_side(images: Sequence[np.ndarray], titles: Sequence[str]) -> np.ndarray:
    """Images uint8 [H_i, W_i, 3] in one row, each under its title, scaled to the height of the tallest.

    Raises UserError when there is no image or the number of titles differs.
    """
    if not images or len(images) != len(titles):
        raise UserError(f"{len(images)} pictures and {len(titles)} titles; give one title per picture, at least one")
    height = max(check_image(image).shape[0] for image in images)
    widths = [max(1, round(image.shape[1] * height / image.shape[0])) for image in images]
    size = round(1.1 * text_size(height, max(widths)))
    gutter = np.full((height + measure("", size)[1], max(2, height // 60), 3), PAPER, np.uint8)
    row: list[np.ndarray] = []
    for image, width, title in zip(images, widths, titles, strict=True):
        if image.shape[0] != height:
            image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
        row += [caption(image, title, size), gutter]
    return np.concatenate(row[:-1], axis=1)


def _visible(detections: Detections, width: int, height: int) -> list[tuple[Rectangle, int, float]]:
    """Boxes in whole pixels clipped to the picture, with class and confidence; boxes outside it are dropped."""
    boxes = detections.xyxy.double()
    limits = boxes.new_tensor([width, height, width, height])
    pixels = torch.cat([boxes[:, :2].floor(), boxes[:, 2:].ceil()], 1).clamp(min=0).minimum(limits)
    inside = boxes.isfinite().all(1) & (pixels[:, 2:] > pixels[:, :2]).all(1)
    columns = pixels[inside].long(), detections.class_id[inside], detections.confidence[inside]
    return [((x1, y1, x2, y2), *rest) for (x1, y1, x2, y2), *rest in zip(*(c.tolist() for c in columns), strict=True)]


def _place(box: Rectangle, w: int, h: int, width: int, height: int, placed: Sequence[Rectangle]) -> Rectangle:
    """Where the w x h label of `box` goes: the first place, in order of preference, that overlaps `placed` least."""
    left, top, right, bottom = box
    rows = [max(0, min(y, height - h)) for y in (top - h, top, bottom - h, bottom)]
    columns = [max(0, min(x, width - w)) for x in (left, right - w)]
    cells = [(x, y, x + w, y + h) for y in rows for x in columns]
    return min(cells, key=lambda cell: sum(_overlap(cell, other) for other in placed))


def _overlap(a: Rectangle, b: Rectangle) -> int:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
