"""The page of `detect --page`, of photographs at every timestep or of a video frame by frame: what
both share, which is facts about the network, and small pictures.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from spiking_yolo.convert.converted import Converted
from spiking_yolo.data.images import Placement
from spiking_yolo.draw.colours import COST_MODEL_COLOURS
from spiking_yolo.draw.page import Page, data_uri
from spiking_yolo.io.json import finite
from spiking_yolo.io.names import size_name
from spiking_yolo.metrics.energy import CostModel, every_cost_model
from spiking_yolo.options import command_line, versions

COST_MODELS = {
    "fp32": "32-bit float, and its ANN; computing alone",
    "int8": "8-bit weights and an 8-bit ANN, 32-bit sums; computing alone",
    "sram16": "8 bit, every access to memory paid, 16-bit potentials",
    "sram32": "8 bit, every access to memory paid, 32-bit potentials",
    "reuse": "8 bit, each byte moved once per pass",
    "loihi": "SANA-FE's energies per event of Loihi, 14 nm: a lower bound; no ANN runs on it",
}

# Pixels; browsers do not draw a higher PNG.
PNG_HEIGHT = 8192
HTML = files("spiking_yolo.apps.page") / "html"

# Numbers of a page: at most four digits.
rounded = partial(finite, digits=4)


def facts(
    converted: Converted, charged: Sequence[CostModel] = every_cost_model()
) -> dict[str, Any]:
    """Network, method, cost models, and what made the page."""
    spec, recipe = converted.spec, converted.recipe
    cost_models: list[dict[str, str]] = []
    for cost_model in charged:
        colour, meaning = COST_MODEL_COLOURS[cost_model.name], COST_MODELS[cost_model.key]
        cost_models.append(
            {"key": cost_model.key, "name": cost_model.name, "meaning": meaning, "colour": colour}
        )
    return {
        "network": converted.provenance.get("weights", "a network"),
        "input": size_name((spec.height, spec.width)),
        "method": recipe.title,
        "counting": recipe.counting,
        "settings": asdict(recipe),
        "cost_models": cost_models,
        "date": date.today().isoformat(),
        "command": command_line(),
        "versions": versions(),
    }


def make_page(title: str, data: Mapping[str, Any]) -> Page:
    """A page. data: of JSON's types; its "kind" is photographs or video."""
    return Page(title, data, [HTML / f"{name}.js" for name in ("chart", "energy", data["kind"])])


def sprite(tiles: np.ndarray) -> dict[str, Any]:
    """Tiles uint8 [n, h, w], row by row in one grey PNG, in which equal tiles cost next to nothing.

    Returns:
        The PNG, size of a tile, and "columns": tiles side by side, more than one if the PNG would
        be higher than PNG_HEIGHT.
    """
    n, height, width = tiles.shape
    columns = -(-n * height // PNG_HEIGHT)
    rows = -(-n // columns)
    grid = np.zeros((rows * columns, height, width), np.uint8)
    grid[:n] = tiles
    whole = (
        grid.reshape(rows, columns, height, width)
        .swapaxes(1, 2)
        .reshape(rows * height, columns * width)
    )
    content = io.BytesIO()
    Image.fromarray(whole).save(content, "png", optimize=True)
    return {
        "sprite": data_uri(content.getvalue(), "png"),
        "width": width,
        "height": height,
        "columns": columns,
    }


def small_map(rate: Tensor, placement: Placement, side: int) -> Tensor:
    """A map [h, w] of the network's input, cut to the photograph, with at most `side` cells on its
    longer side. Cells are averaged, so that the mean stays.
    """
    whole = interpolate(rate[None, None], placement.network[::-1], mode="nearest-exact")[0, 0]
    width, height = placement.resized
    left, top = map(round, placement.pad)
    scale = min(1.0, side / max(width, height))
    small = max(1, round(scale * height)), max(1, round(scale * width))
    return adaptive_avg_pool2d(whole[None, top : top + height, left : left + width], small)[0]


def as_bytes(maps: Tensor) -> tuple[np.ndarray, list[float], list[float]]:
    """Scale each map of [n, h, w] to uint8, from 0 at its smallest value to 255 at its largest.

    Returns:
        The scaled maps, the smallest and the largest values.
    """
    low, high = maps.flatten(1).aminmax(dim=1)
    scaled = (maps - low[:, None, None]) / (high - low).clamp(min=1e-30)[:, None, None]
    return (255 * scaled).round().to(torch.uint8).numpy(), low.tolist(), high.tolist()
