"""Detections drawn on a photograph, and the colours of classes, tracks and curves."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.tracking import NO_TRACK

Colour = tuple[int, int, int]
PALETTE: tuple[Colour, ...] = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0), (204, 121, 167), (86, 180, 233),
    (240, 228, 66), (75, 75, 0), (135, 0, 90), (135, 255, 240), (255, 210, 195), (15, 0, 225),
)  # fmt: skip
NO_TRACK_COLOUR: Colour = (150, 150, 150)


def class_colour(class_id: int) -> Colour:
    """RGB of a class, the same in every picture and run.

    Classes beyond the palette share colours, but not that of class 0, which has the most objects
    in most data sets.
    """
    if class_id < len(PALETTE):
        return PALETTE[class_id]
    return PALETTE[1 + (class_id - len(PALETTE)) % (len(PALETTE) - 1)]


def track_colour(track_id: int) -> Colour:
    """RGB of a track, by its number from 1; grey of a box in none. Colours come again after 12."""
    return NO_TRACK_COLOUR if track_id < 1 else PALETTE[(track_id - 1) % len(PALETTE)]


def hexadecimal(colour: Colour) -> str:
    """#rrggbb, for matplotlib and web pages."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def text_colour(background: Colour) -> Colour:
    """Black or white, whichever contrasts more with the background."""
    return (0, 0, 0) if _luma(background) > 127 else (255, 255, 255)


def _luma(colour: Colour) -> float:
    """Brightness in 0..255, by Rec. 601."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


# The colours of curves, which are dark enough on white paper.
COLOURS = [hexadecimal(colour) for colour in PALETTE if _luma(colour) < 180]


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """A colour of curves for each name, by its place: figures that are given the same names show
    each in the same colour.
    """
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


# Left, top, right, bottom in pixels; right and bottom are exclusive.
Rectangle = tuple[int, int, int, int]
# Text of fewer pixels cannot be read.
SMALLEST = 7
# The place of a label, its text, and its colour.
Label = tuple[Rectangle, str, Colour]


@lru_cache(maxsize=256)
def font(size: int) -> Any:
    return ImageFont.load_default(size)


def text_size(image: np.ndarray) -> int:
    """Pixels of text in a picture that is viewed as a whole."""
    return max(11, round(0.024 * (image.shape[0] * image.shape[1]) ** 0.5))


def titled(image: np.ndarray, text: str) -> np.ndarray:
    """The picture below a line of text, which is as small as the width asks for."""
    size = fitting = text_size(image)
    while fitting > SMALLEST and size + font(fitting).getlength(text) > image.shape[1]:
        fitting -= 1
    strip = Image.new("RGB", (image.shape[1], 2 * size), "white")
    ImageDraw.Draw(strip).text((size // 2, size), text, "black", font(fitting), anchor="lm")
    return np.concatenate([np.array(strip), image])


def draw_detections(image: np.ndarray, detections: Detections, names: Sequence[str]) -> np.ndarray:
    """Draw boxes with labels "class confidence", the most confident on top; where boxes crowd,
    labels make way for each other.

    Tracked boxes have a colour per track, and its number in front: "3 person 0.62".

    Args:
        image: uint8 RGB [H, W, 3]; it stays as it is.
        detections: Boxes in pixels of the image.
        names: Class names, by id.

    Returns:
        uint8 RGB [H, W, 3].
    """
    height, width = image.shape[:2]
    size = text_size(image)
    margin = size // 5
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    boxes, seen = visible(detections, width, height)
    colours = box_colours(seen)
    thickness = max(1, round(size / 6))
    for (left, top, right, bottom), colour in reversed(list(zip(boxes, colours, strict=True))):
        draw.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=thickness)
    labels: list[Label] = []
    for k, box in enumerate(boxes):
        name = box_name(seen, k, names)
        for text in (f"{name} {float(seen.confidence[k]):.2f}", name):
            wide = int(font(size).getlength(text)) + 1 + 2 * margin
            high = size + 2 * margin
            if wide <= width and high <= height:
                taken = [place for place, *_ in labels]
                place = free_place(box, (wide, high), (width, height), taken)
                labels.append((place, text, colours[k]))
                break
    for (left, top, right, bottom), text, colour in reversed(labels):
        draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)
        at = left + margin, (top + bottom) / 2
        draw.text(at, text, text_colour(colour), font(size), anchor="lm")
    return np.array(picture)


def free_place(
    box: Rectangle, label: tuple[int, int], picture: tuple[int, int], taken: Sequence[Rectangle]
) -> Rectangle:
    """Find the place where the label of a box hides least of the labels that are placed already:
    above the box if there is room, else inside of it or below.

    Args:
        box: The box.
        label: Width and height.
        picture: Width and height, which are not exceeded.
        taken: Labels that are placed.
    """
    left, top, right, bottom = box
    wide, high = label
    places: list[Rectangle] = []
    for y in (top - high, top, bottom - high, bottom):
        for x in (left, right - wide):
            x = max(0, min(x, picture[0] - wide))
            y = max(0, min(y, picture[1] - high))
            places.append((x, y, x + wide, y + high))
    ours, theirs = np.array(places)[:, None], np.array(taken).reshape(-1, 4)
    common = np.minimum(ours, theirs)[..., 2:] - np.maximum(ours, theirs)[..., :2]
    hidden = common.clip(min=0).prod(2).sum(1)
    return places[int(hidden.argmin())]


def visible(detections: Detections, width: int, height: int) -> tuple[list[Rectangle], Detections]:
    """The boxes inside of the picture: clipped to whole pixels, and as they are."""
    boxes = detections.xyxy.double()
    limits = boxes.new_tensor([width, height, width, height])
    pixels = torch.cat([boxes[:, :2].floor(), boxes[:, 2:].ceil()], 1).clamp(min=0).minimum(limits)
    inside = boxes.isfinite().all(1) & (pixels[:, 2:] > pixels[:, :2]).all(1)
    return list(map(tuple, pixels[inside].long().tolist())), detections.take(inside)


def box_colours(boxes: Detections) -> list[Colour]:
    """A colour for each box: of its track, or else of its class."""
    if boxes.track_id is not None:
        return list(map(track_colour, boxes.track_id.tolist()))
    return list(map(class_colour, boxes.class_id.tolist()))


def box_name(boxes: Detections, k: int, names: Sequence[str]) -> str:
    """The class of a box, with the number of its track in front."""
    name = names[int(boxes.class_id[k])]
    if boxes.track_id is None or boxes.track_id[k] == NO_TRACK:
        return name
    return f"{int(boxes.track_id[k])} {name}"
