"""Firing rates as heat maps over the photograph."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator
from torch import Tensor
from torch.nn.functional import interpolate

from spiking_yolo.data.images import Placement
from spiking_yolo.draw import FigureFormat
from spiking_yolo.draw.boxes import check_image
from spiking_yolo.draw.colours import RATE_COLOURS
from spiking_yolo.draw.figure import paper_figure
from spiking_yolo.errors import UserError

UNIT = "spikes per neuron and timestep"
# Of the colours, and contrast of the photograph below them.
OPACITY = 0.7
CONTRAST = 0.6


@dataclass(frozen=True, eq=False)
class RateMap:
    """Spikes per neuron and timestep of some neurons, see `observe.mean_rate`.

    Attributes:
        values: Over the photograph, float [h, w].
        mean: Over the neurons, also those that see what is no photograph.
        neurons: How many they are.
    """

    values: Tensor
    mean: float
    neurons: int

    @classmethod
    def of_all(cls, maps: Iterable["RateMap"]) -> "RateMap":
        """Rates of the neurons of several layers together; their maps have one shape."""
        values = torch.zeros(())
        mean, neurons = 0.0, 0
        for one in maps:
            values = values + one.values * one.neurons
            mean += one.mean * one.neurons
            neurons += one.neurons
        return cls(values / neurons, mean / neurons, neurons)


def resize_map(rate: Tensor, height: int, width: int) -> Tensor:
    """Resize a map [h, w] to float32 [height, width] by the nearest value.

    Raises:
        UserError: It has not two dimensions, or a value is not finite.
    """
    if rate.ndim != 2 or rate.numel() == 0 or not torch.isfinite(rate).all():
        raise UserError(
            f"a rate map of shape {tuple(rate.shape)} cannot be drawn; give finite values [h, w]"
        )
    return interpolate(
        rate.detach().cpu().float()[None, None], (height, width), mode="nearest-exact"
    )[0, 0]


def map_to_image(rate: Tensor, placement: Placement) -> Tensor:
    """Resize a map [h, w] over the network's input to float32 [H, W] over the original image."""
    return resize_map(map_on_image(rate, placement), placement.image[1], placement.image[0])


def map_on_image(rate: Tensor, placement: Placement) -> Tensor:
    """Cut the letterbox off a map [h, w] over the network's input; float32 in its pixels."""
    width, height = placement.resized
    left, top = map(round, placement.pad)
    whole = resize_map(rate, placement.network[1], placement.network[0])
    return whole[top : top + height, left : left + width]


def blend(image: np.ndarray, rate: Tensor, low: float, high: float) -> np.ndarray:
    """Blend a photograph and a map [h, w] whose colours run from `low` to `high`.

    The photograph is grey and of low contrast, so that its shadows do not look like low rates.

    Returns:
        uint8 RGB [H, W, 3].

    Raises:
        UserError: The image is not uint8 RGB, or the map is not finite.
    """
    height, width = check_image(image).shape[:2]
    values = resize_map(rate, height, width).numpy()
    colours = matplotlib.colormaps[RATE_COLOURS](Normalize(low, high, clip=True)(values))[..., :3]
    grey = 0.5 + CONTRAST * (image @ np.array([0.299, 0.587, 0.114]) / 255 - 0.5)
    return np.rint(255 * (OPACITY * colours + (1 - OPACITY) * grey[..., None])).astype(np.uint8)


def save_rates(
    path: str | Path, image: np.ndarray, maps: Mapping[str, RateMap], also: FigureFormat = "png"
) -> None:
    """Save a heat map per layer and, last, that of the neurons of all.

    Each panel has a scale of its own, so that quiet layers show something too.

    Args:
        path: Ends in .png, .pdf or .svg.
        image: uint8 RGB [H, W, 3].
        maps: Title -> map.
        also: A second format in which the figure is saved.

    Raises:
        UserError: There is no map, the image is not uint8 RGB, a map is not finite, or the path has
            another end.
    """
    if not maps:
        raise UserError("there is no rate map to draw; record the spikes of at least one layer")
    height, width = check_image(image).shape[:2]
    panels = dict(maps)
    if len(maps) > 1:
        panels["all these neurons"] = RateMap.of_all(maps.values())
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    panel_height = min(max(1.9 * height / width, 0.6), 4.0) + 0.45
    size = (2.2 * columns + 0.6, rows * panel_height + 0.3)
    with paper_figure(path, *size, "compressed", also) as figure:
        grid: list[Axes] = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
        for axes, (title, rate) in zip(grid, panels.items(), strict=False):
            _draw_panel(axes, image, rate, title)
        for axes in grid:
            axes.set_axis_off()
        figure.supxlabel(f"colours: {UNIT}, one scale per panel", fontsize=8)


def _draw_panel(axes: Axes, image: np.ndarray, rate: RateMap, title: str) -> None:
    """A heat map, and a colour bar as tall as it."""
    least, most = rate.values.aminmax()
    low, high = float(least), float(most)
    if high <= low:
        high = low + max(abs(low), 1e-3)
    aspect = "equal"
    if max(image.shape[:2]) >= 8 * min(image.shape[:2]):
        # A strip would be a hairline.
        aspect = "auto"
    axes.imshow(blend(image, rate.values, low, high), interpolation="antialiased", aspect=aspect)
    axes.set_title(f"{title}\n{least:.2g} to {most:.2g}, mean {rate.mean:.2g}", fontsize=7)
    place = axes.inset_axes((1.02, 0.0, 0.035, 1.0))
    bar = axes.figure.colorbar(ScalarMappable(Normalize(low, high), RATE_COLOURS), cax=place)
    bar.locator = MaxNLocator(5)
    bar.ax.tick_params(labelsize=7)
