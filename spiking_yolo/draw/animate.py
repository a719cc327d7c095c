"""Animations: detections and firing rates over the timesteps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from spiking_yolo.decode.boxes import Detections
from spiking_yolo.draw.boxes import draw_detections, side_by_side
from spiking_yolo.draw.overlay import blend, rate_range
from spiking_yolo.draw.text import check_image
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write


def timeline_frames(
    image: np.ndarray, steps: Mapping[int, Detections], names: Sequence[str], rates: Mapping[int, Tensor] | None = None
) -> list[np.ndarray]:
    """One uint8 [H, W, 3] RGB frame per timestep of `steps`, in order and of one size, with T in the caption.

    steps: T -> detections after T timesteps. rates: T -> rate map [h, w] over the photograph, shown beside the boxes on
    one colour scale for all frames. Raises UserError when the timesteps of `rates` differ from those of `steps`.
    """
    if rates is not None and rates.keys() != steps.keys():
        raise UserError("the rate maps and the detections are of different timesteps; record both together")
    frames: list[np.ndarray] = []
    for t, detections in sorted(steps.items()):
        title = f"T = {t}: {len(detections)} detection{'' if len(detections) == 1 else 's'}"
        if rates is None:
            frames.append(draw_detections(image, detections, names, title))
            continue
        low, high = rate_range(*rates.values())
        panels = draw_detections(image, detections, names), blend(image, rates[t], low, high)
        rate_title = f"spike rate, mean {rates[t].mean():.3f} (colours {low:.2f} to {high:.2f})"
        frames.append(side_by_side(panels, (title, rate_title)))
    return frames


def save_gif(frames: Sequence[np.ndarray], path: str | Path, fps: float = 4) -> None:
    """Save frames, uint8 RGB [H, W, 3] of one size, as an endless GIF.

    fps: above 0 and at most 50, rounded to whole hundredths of a second per frame, the format's unit; viewers slow
    shorter delays down. Raises UserError for no frames, frames of different sizes, or an fps out of range.
    """
    if not frames or len({check_image(frame).shape for frame in frames}) > 1:
        raise UserError("an animation needs at least one frame and all of one size; resize the frames")
    if not 0 < fps <= 50:
        raise UserError(f"{fps} frames per second is not possible in a GIF; give a number above 0, at most 50")
    first, *others = [_indexed(Image.fromarray(frame)) for frame in frames]
    with atomic_write(path) as temporary:
        duration = 10 * round(100 / fps)  # ms
        first.save(temporary, format="GIF", save_all=True, append_images=others, duration=duration, loop=0)


def _indexed(frame: Image.Image) -> Image.Image:
    """The frame in its own 256 colours, chosen by k-means on a small copy: median cut alone turns red to pink."""
    colours = frame.reduce(max(1, min(frame.size) // 200)).quantize(256, kmeans=2)
    return frame.quantize(palette=colours, dither=Image.Dither.NONE)
