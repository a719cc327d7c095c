"""Pictures inside of a page: data URIs of JPEG and PNG, within a budget of bytes."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from spiking_yolo.draw.overlay import map_on_image
from spiking_yolo.io.images import Placement

PHOTOGRAPHS = ((1280, 85), (1120, 80), (960, 75), (800, 70), (640, 60), (480, 50), (320, 40))  # longer side, quality
THUMBNAILS = ((480, 70), (400, 60), (320, 50), (256, 45), (192, 40), (128, 35))

_HIGHEST = 8192  # pixels of a PNG


def data_uri(content: bytes, kind: str) -> str:
    """kind: "jpeg" or "png"."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def jpeg(pixels: np.ndarray, side: int, quality: int) -> bytes:
    """uint8 [H, W, 3] RGB as a JPEG whose longer side has at most `side` pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    content = io.BytesIO()
    image.save(content, "jpeg", quality=quality, optimize=True, progressive=True)
    return content.getvalue()


def photograph(pixels: np.ndarray, budget: int) -> str:
    """The best JPEG of PHOTOGRAPHS whose data URI has at most `budget` characters, or the smallest."""
    uri = ""
    for side, quality in PHOTOGRAPHS:
        uri = data_uri(jpeg(pixels, side, quality), "jpeg")
        if len(uri) <= budget:
            break
    return uri


def thumbnails(frames: Sequence[bytes], budget: int) -> list[str]:
    """JPEGs of the first of THUMBNAILS, again and smaller until all data URIs together fit into `budget` characters."""
    for k, (side, quality) in enumerate(THUMBNAILS):
        if k:
            frames = [jpeg(np.asarray(Image.open(io.BytesIO(frame))), side, quality) for frame in frames]
        if sum(map(len, frames)) * 4 / 3 <= budget:
            break
    return [data_uri(frame, "jpeg") for frame in frames]


def sprite(tiles: np.ndarray) -> dict[str, Any]:
    """Pictures of one size, uint8 [n, h, w], row by row in one grey PNG: equal ones cost next to nothing.

    columns: of tiles in the PNG, more than one where it would be higher than browsers draw.
    """
    n, height, width = tiles.shape
    columns = -(-n * height // _HIGHEST)
    rows = -(-n // columns)
    grid = np.zeros((rows * columns, height, width), np.uint8)
    grid[:n] = tiles
    whole = grid.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    content = io.BytesIO()
    Image.fromarray(whole).save(content, "png", optimize=True)
    return {"sprite": data_uri(content.getvalue(), "png"), "width": width, "height": height, "columns": columns}


def small_map(rate: Tensor, placement: Placement, side: int) -> Tensor:
    """A map [h, w] of the network's input over the photograph, float32, with at most `side` cells on its longer side.

    Larger ones are averaged, so that the mean stays.
    """
    part = map_on_image(rate, placement)
    scale = min(1.0, side / max(part.shape))
    height, width = (max(1, round(n * scale)) for n in part.shape)
    return adaptive_avg_pool2d(part[None], (height, width))[0]


def as_bytes(maps: Tensor) -> tuple[np.ndarray, list[float], list[float]]:
    """Maps [n, h, w] as uint8, each from 0 at its own smallest value to 255 at its largest; and those values."""
    low, high = maps.flatten(1).aminmax(dim=1)
    scaled = (maps - low[:, None, None]) / (high - low).clamp(min=1e-30)[:, None, None]
    return (255 * scaled).round().to(torch.uint8).numpy(), low.tolist(), high.tolist()
