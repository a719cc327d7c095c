"""Animations of detections and firing rates over the timesteps."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from spiking_yolo.decode.boxes import Detections, counted
from spiking_yolo.draw.boxes import check_image, draw_detections, side_by_side
from spiking_yolo.draw.colours import PALETTE
from spiking_yolo.draw.overlay import UNIT, RateMap, blend, rate_range
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write

# Largest GIF.
MOST_BYTES = 2_000_000
# A side has at least so many pixels, however large the GIF is.
SMALLEST_SIDE = 64
# The palette is taken from so many frames.
PALETTE_FRAMES = 8


def timeline_frames(
    image: np.ndarray,
    steps: Mapping[int, Detections],
    names: Sequence[str],
    rates: Mapping[int, RateMap] | None = None,
) -> list[np.ndarray]:
    """Draw a picture per timestep, with T in its caption.

    Args:
        image: uint8 RGB [H, W, 3].
        steps: t -> detections after t timesteps.
        names: Of the classes, by id.
        rates: t -> rate map, drawn beside the boxes. Each has a colour scale of its own, which the
            caption gives: on that of the busiest step later ones would be of one colour.

    Returns:
        uint8 RGB pictures of one size, by t.

    Raises:
        UserError: `rates` and `steps` have different timesteps.
    """
    if rates is not None and rates.keys() != steps.keys():
        raise UserError(
            "the rate maps and the detections are of different timesteps; record both together"
        )
    frames: list[np.ndarray] = []
    for t, detections in sorted(steps.items()):
        title = f"T = {t}: {counted(detections, names)}"
        if rates is None:
            frames.append(draw_detections(image, detections, names, title))
            continue
        low, high = rate_range(rates[t].values)
        panels = (
            draw_detections(image, detections, names),
            blend(image, rates[t].values, low, high),
        )
        rate_title = f"{UNIT}, mean {rates[t].mean:.3f} (colours {low:.2f} to {high:.2f})"
        frames.append(side_by_side(panels, (title, rate_title)))
    return frames


def save_gif(
    frames: Sequence[np.ndarray], path: str | Path, fps: float = 4, most: int = MOST_BYTES
) -> None:
    """Save an endless GIF.

    All frames have the same 256 colours, those of the classes among them, so that a class keeps its
    colour.

    Args:
        frames: uint8 RGB [H, W, 3] of one size.
        path: Of the file.
        fps: Frames per second, above 0 and at most 50: viewers slow shorter delays down.
        most: Bytes; frames are made smaller to keep to it.

    Raises:
        UserError: There are no frames, their sizes differ, or fps is out of range.
    """
    if not frames or len({check_image(frame).shape for frame in frames}) > 1:
        raise UserError(
            "an animation needs at least one frame and all of one size; resize the frames"
        )
    if not 0 < fps <= 50:
        raise UserError(
            f"{fps} frames per second is not possible in a GIF; give a number above 0, at most 50"
        )
    # Milliseconds, in the format's unit of hundredths of a second.
    duration = 10 * round(100 / fps)
    images = [Image.fromarray(frame) for frame in frames]
    content = _gif(images, duration)
    while len(content) > most and min(images[0].size) > SMALLEST_SIDE:
        # The file grows with the number of pixels, roughly.
        ratio = max(0.5, min(0.95, 0.95 * (most / len(content)) ** 0.5))
        size = (max(1, round(images[0].width * ratio)), max(1, round(images[0].height * ratio)))
        images = [image.resize(size, Image.Resampling.LANCZOS) for image in images]
        content = _gif(images, duration)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def _gif(images: Sequence[Image.Image], duration: int) -> bytes:
    colours = _colours(images)
    first, *others = [image.quantize(palette=colours, dither=Image.Dither.NONE) for image in images]
    content = io.BytesIO()
    first.save(
        content, format="GIF", save_all=True, append_images=others, duration=duration, loop=0
    )
    return content.getvalue()


def _colours(images: Sequence[Image.Image]) -> Image.Image:
    """256 colours for all images: those of classes, black, white, and others by k-means on small
    copies of some images. Median cut alone turns red to pink.
    """
    small: list[np.ndarray] = []
    for image in images[:: -(-len(images) // PALETTE_FRAMES)]:
        reduced = image.reduce(max(1, min(image.size) // 200))
        small.append(np.asarray(reduced).reshape(-1, 3))
    pixels = np.concatenate(small)[None]
    fixed = [*PALETTE, (0, 0, 0), (255, 255, 255)]
    chosen = Image.fromarray(pixels).quantize(256 - len(fixed), kmeans=2)
    palette = [value for colour in fixed for value in colour] + (chosen.getpalette() or [])
    colours = Image.new("P", (1, 1))
    colours.putpalette(palette[: 3 * 256])
    return colours
