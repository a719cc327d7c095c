"""The README's animation, images/stream.webp: boxes, and beside them where the network sends.

Left the sample clip with the boxes of the spiking network, right its events in all layers, on one
logarithmic scale. Text is legible where 800 pixels are shown.
"""

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from spiking_yolo import SpikingYOLO
from spiking_yolo.apps.page import small_map
from spiking_yolo.draw.boxes import class_colour, hexadecimal, text_colour
from spiking_yolo.observe import Observation

DOCS = Path(__file__).parent
CLIP = DOCS.parent / "data/samples/clips/person.mp4"
WIDTH, TEXT, GAP = 396, 17, 8  # of one of the two pictures; of letters; between them
PEAK = 75.0  # events at one place that have the brightest colour
CELLS = 52  # on the longer side of the heat map
FONT = ImageFont.load_default(TEXT)
COLOURS = matplotlib.colormaps["inferno"]


def colours(heat: np.ndarray) -> Image.Image:
    """Events to RGB: black for none, the brightest colour for PEAK or more."""
    strength = np.log1p(heat) / np.log1p(PEAK)
    return Image.fromarray((255 * COLOURS(np.clip(strength, 0, 1))[..., :3]).astype(np.uint8))


def with_boxes(picture: Image.Image, seen: Observation, names: tuple[str, ...]) -> Image.Image:
    boxes, draw = seen.last.boxes, ImageDraw.Draw(picture)
    assert seen.input.image is not None
    scale = WIDTH / seen.input.image.shape[1]
    for corners, class_id in zip(boxes.xyxy.tolist(), boxes.class_id.tolist(), strict=True):
        left, top, right, bottom = (max(0, scale * value) for value in corners)
        colour = class_colour(class_id)
        draw.rectangle((left, top, right, bottom), outline=hexadecimal(colour), width=3)
        wide = FONT.getlength(names[class_id]) + 8
        top, left = max(0, top - TEXT - 6), min(left, WIDTH - wide)
        draw.rectangle((left, top, left + wide, top + TEXT + 6), fill=hexadecimal(colour))
        at, ink = (left + 4, top + TEXT / 2 + 3), hexadecimal(text_colour(colour))
        draw.text(at, names[class_id], ink, FONT, anchor="lm")
    return picture


def frame(seen: Observation, names: tuple[str, ...]) -> Image.Image:
    assert seen.input.image is not None and seen.input.placement is not None
    photo = Image.fromarray(seen.input.image)
    size = WIDTH, round(WIDTH * photo.height / photo.width)
    photo = photo.resize(size, Image.Resampling.LANCZOS)
    maps = [small_map(one, seen.input.placement, CELLS) for one in seen.last.maps.values()]
    heat = colours(np.sum([one.numpy() for one in maps], axis=0))
    heat = heat.resize(size, Image.Resampling.NEAREST)
    strip = TEXT + 12
    canvas = Image.new("RGB", (2 * WIDTH + GAP, size[1] + 2 * strip), "white")
    grey = photo.convert("L").convert("RGB")
    canvas.paste(Image.blend(grey, heat, 0.72), (WIDTH + GAP, strip))
    canvas.paste(with_boxes(photo, seen, names), (0, strip))
    draw, below = ImageDraw.Draw(canvas), size[1] + strip
    middle, right = strip / 2, WIDTH + GAP
    draw.text((0, middle), "boxes of the spiking network", "black", FONT, anchor="lm")
    draw.text((right, middle), "where it sends spikes", "black", FONT, anchor="lm")
    operations = f"{seen.last.operations['digits'] / seen.macs:.3f} operations per MAC of the ANN"
    draw.text((0, below + middle), operations, "black", FONT, anchor="lm")
    draw.text((right, below + middle), "no spikes", "black", FONT, anchor="lm")
    bar = colours(np.expm1(np.linspace(0, np.log1p(PEAK), 140))[None].repeat(12, 0))
    canvas.paste(bar, (right + 86, below + 8))
    draw.text((right + 234, below + middle), f"{PEAK:.0f} spikes", "black", FONT, anchor="lm")
    return canvas


def main() -> None:
    detector = SpikingYOLO(square=True)
    first, *others = [
        frame(result.seen, detector.names) for result in detector.stream(CLIP, want=["maps"])
    ]
    path = DOCS / "images/stream.webp"
    first.save(
        path, save_all=True, append_images=others, duration=100, loop=0, quality=35, method=6
    )


if __name__ == "__main__":
    main()
