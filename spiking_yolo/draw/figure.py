"""Figures in one style, apart from matplotlib's global settings: plots that commands share, spike
rates over a photograph, and the events of all layers over time.

with plot("accuracy.png", "timesteps T", "mAP50 (%)") as axes:
    draw_curves(axes, {"msat": (T, accuracy, low, high)})
    draw_reference(axes, "ANN", 41.0)
    log_steps(axes)
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle as Patch
from matplotlib.ticker import MaxNLocator

from spiking_yolo.data.images import Placement
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.draw import boxes as drawing
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write

STYLE: dict[Any, Any] = {
    # Names of classes may have a dollar sign.
    "text.parse_math": False,
    "font.size": 9,
    "axes.titlesize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "lines.markersize": 5,
    "savefig.dpi": 200,
    # Publishers reject Type 3 fonts.
    "pdf.fonttype": 42,
}
# Width and height of a plot in inches, and the characters that fit into its width.
SIZE = (4.6, 3.2)
CHARACTERS = 72
MARKERS = "osD^vPX*"
REFERENCE = "#444444"

Values = Sequence[float] | np.ndarray
# Name -> (x, y), or (x, y, lower, upper) with a band.
Series = Mapping[str, tuple[Values, ...]]


@contextmanager
def plot(path: str | Path, xlabel: str, ylabel: str) -> Iterator[Axes]:
    """Yield the axes of one plot; on success its legend goes above it, and the file is saved.

    Args:
        path: Ends in .png (200 dpi), .pdf or .svg.
        xlabel: Title of the x axis.
        ylabel: Title of the y axis.

    Raises:
        UserError: The file cannot be written.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
        axes.grid(True)
        yield axes
        handles, names = axes.get_legend_handles_labels()
        if handles:
            longest = 8 + max(map(len, names))
            columns = max(1, min(len(names), CHARACTERS // longest))
            rows = -(-len(names) // columns)
            figure.set_figheight(SIZE[1] + 0.17 * max(0, rows - 2))
            figure.legend(handles, names, loc="outside upper center", ncols=columns)
    save_figure(figure, path)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as the suffix of the path says. Raises UserError if it cannot be written."""
    with matplotlib.rc_context(STYLE), atomic_write(path) as temporary:
        figure.savefig(temporary)


def draw_curves(axes: Axes, series: Series, colours: Mapping[str, str] | None = None) -> None:
    """Draw curves, and the bands of those that have one.

    Args:
        axes: Axes of the plot.
        series: What to draw.
        colours: Name -> colour, see `colours_of`, where figures have some of their series in
            common; its place among these names says its marker.
    """
    colours = colours or drawing.colours_of(series)
    places = list(colours)
    for name, (x, y, *band) in series.items():
        axes.plot(
            x,
            y,
            label=name,
            color=colours[name],
            marker=MARKERS[places.index(name) % len(MARKERS)],
            markevery=max(1, len(x) // 12),
            markeredgecolor="white",
            mew=0.5,
        )
        if band:
            low, high = band
            look: Any = {"color": colours[name], "alpha": 0.18}
            axes.fill_between(x, low, high, linewidth=0, **look)
            if len(x) == 1:
                # A band of one point has no width.
                axes.vlines(x, low, high, linewidth=4, **look)
    every_x = np.concatenate([x for x, *_ in series.values()])
    if not (every_x % 1).any():
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))


def draw_reference(axes: Axes, name: str, y: float) -> None:
    """Draw a dashed line, such as the accuracy of the ANN."""
    axes.axhline(y, label=name, color=REFERENCE, linestyle="--", linewidth=1.1, zorder=1)


def log_steps(axes: Axes) -> None:
    """Make the x axis logarithmic, base 2."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.3g}")


RATE = "spikes per neuron and timestep"
COLOURS = "viridis"
# The opacity of the colours over the photograph, which is grey.
ALPHA = 0.6
DPI = 200
# Inches: the width of a picture alone, which fits a column, and of three, which fill a page.
ALONE, ACROSS = 3.4, 2.24
# Inches: around pictures, of a line of text, and of a colour bar with its numbers and its unit.
MARGIN, LINE, BAR, BELOW = 0.12, 0.17, 0.07, 0.47
# Points of the labels of boxes, and inches of their height and of a character's width.
LABEL, LABEL_HEIGHT, CHARACTER = 5.5, 0.11, 0.046
# An axis has at most so many names of layers.
TICKS = 40
# The ratio of the largest value of a timeline to the smallest that has a colour of its own.
RANGE = 1e5


def chosen_layers(wanted: Sequence[str], layers: Iterable[str]) -> list[str]:
    """The layers that are wanted, by their full names; if none is named, the first, a middle and
    the last one.

    Args:
        wanted: Names; layers_8_act may be called layers_8 or layer8.
        layers: All layers that have a map, in order.

    Raises:
        UserError: There is no such layer.
    """
    names = list(layers)
    if not wanted:
        return [names[k] for k in sorted({0, len(names) // 2, len(names) - 1}) if names]
    by_short_name = {_short(name): name for name in names}
    for name in wanted:
        if _short(name) not in by_short_name:
            every = ", ".join(map(_short, map(str, names))) or "none"
            raise UserError(f"no layer {name} has a map of spikes; layers that have one: {every}")
    return [by_short_name[_short(name)] for name in wanted]


def _short(name: str) -> str:
    return name.removesuffix("_act").replace("_", "").replace("layers", "layer")


def draw_rates(
    image: np.ndarray,
    rates: Mapping[str, np.ndarray],
    placement: Placement,
    boxes: Detections,
    names: Sequence[str],
    title: str,
    tops: Mapping[str, float] | None = None,
) -> Figure:
    """Draw the photograph in grey below the spike rate of a layer and its boxes, once per layer.

    Args:
        image: uint8 RGB [H, W, 3].
        rates: Layer -> spikes per neuron and timestep [h, w], over the whole network input.
        placement: Where the image lies in the network input.
        boxes: Boxes in pixels of the image.
        names: Class names, by id.
        title: What stands above.
        tops: For a video, whose frames have one scale: layer -> the rate at the end of its colour
            bar, on which small rates have more room (colours follow the square root). By default
            the largest rate, and a linear scale.
    """
    height, width = image.shape[:2]
    columns = min(len(rates), 3)
    wide = ALONE if columns == 1 else ACROSS
    high = wide * height / width
    row = LINE + high + BELOW
    total = columns * (wide + MARGIN) + MARGIN, -(-len(rates) // columns) * row + MARGIN + LINE
    # The corners of the network's input in pixels of the image, which covers a part of it.
    start = -np.array(placement.pad) * placement.image / placement.resized
    end = start + np.array(placement.network) * placement.image / placement.resized
    with matplotlib.rc_context({**STYLE, "font.size": 7, "axes.titlesize": 7}):
        figure = Figure(figsize=total, dpi=DPI)
        figure.text(0.5, 1 - MARGIN / total[1], title, fontsize=8, ha="center", va="center")
        for k, (layer, rate) in enumerate(rates.items()):
            x = MARGIN + k % columns * (wide + MARGIN)
            y = total[1] - MARGIN - LINE - k // columns * row - LINE - high
            axes = figure.add_axes((x / total[0], y / total[1], wide / total[0], high / total[1]))
            axes.set_title(f"{layer}, {rate.shape[0]} x {rate.shape[1]}", pad=3)
            axes.imshow(image.mean(2), cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
            top = (float(rate.max()) if tops is None else tops[layer]) or 1.0
            colours = axes.imshow(
                rate,
                cmap=COLOURS,
                norm=PowerNorm(1 if tops is None else 0.5, 0, top, clip=True),
                alpha=ALPHA,
                interpolation="nearest",
                extent=(start[0], end[0], end[1], start[1]),
            )
            axes.set(xlim=(0, width), ylim=(height, 0))
            axes.set_axis_off()
            _draw_boxes(axes, boxes, names, (width, height), width / wide)
            y -= MARGIN / 2 + BAR
            bar = figure.add_axes((x / total[0], y / total[1], wide / total[0], BAR / total[1]))
            numbers = np.array(MaxNLocator(4).tick_values(0, top))
            how: dict[str, Any] = {"orientation": "horizontal", "ticks": numbers[numbers <= top]}
            figure.colorbar(colours, cax=bar, label=RATE, **how)
            bar.tick_params(length=2, pad=1)
            bar.xaxis.labelpad = 1
    return figure


def _draw_boxes(
    axes: Axes, boxes: Detections, names: Sequence[str], picture: tuple[int, int], inch: float
) -> None:
    """Draw boxes with their labels as draw_detections does, but as lines and text.

    Args:
        axes: Where to draw, in pixels of the picture.
        boxes: Boxes in pixels.
        names: Class names, by id.
        picture: Width and height.
        inch: Pixels of the picture on an inch of paper.
    """
    corners, seen = drawing.visible(boxes, *picture)
    colours = drawing.box_colours(seen)
    for (left, top, right, bottom), colour in reversed(list(zip(corners, colours, strict=True))):
        frame: Any = {"fill": False, "edgecolor": drawing.hexadecimal(colour), "linewidth": 1.2}
        axes.add_patch(Patch((left, top), right - left, bottom - top, **frame))
    taken: list[drawing.Rectangle] = []
    for k, box in enumerate(corners):
        text = f"{drawing.box_name(seen, k, names)} {float(seen.confidence[k]):.2f}"
        label = round((len(text) + 1) * CHARACTER * inch), round(LABEL_HEIGHT * inch)
        place = drawing.free_place(box, label, picture, taken)
        taken.append(place)
        left, top, _, bottom = place
        # The most confident boxes lie on top.
        order = 5 - k / len(corners)
        colour = drawing.hexadecimal(colours[k])
        fill: dict[str, Any] = {"facecolor": colour, "linewidth": 0, "zorder": order}
        axes.add_patch(Patch((left, top), *label, **fill))
        ink = drawing.hexadecimal(drawing.text_colour(colours[k]))
        middle: dict[str, Any] = {"ha": "center", "va": "center_baseline", "zorder": order}
        at = left + label[0] / 2, (top + bottom) / 2
        axes.text(*at, text, color=ink, fontsize=LABEL, **middle)


def draw_timeline(
    spikes: np.ndarray, times: Sequence[float], layers: Sequence[str], unit: str, title: str
) -> Figure:
    """Draw how many spikes each layer sends when, on a logarithmic scale; where none, grey.

    Args:
        spikes: Spikes per `unit` [layers, n], in each of n spans of time.
        times: The n + 1 ends of the spans.
        layers: Names of the layers, the first on top.
        unit: What time is counted in, "timestep" or "frame".
        title: What stands above.
    """
    count = len(layers)
    every = -(-count // TICKS)
    largest = max(float(spikes.max()), 1.0)
    with matplotlib.rc_context({**STYLE, "font.size": 7, "axes.titlesize": 8}):
        size = 2 * ACROSS, 0.9 + 0.13 * count / every
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        axes = figure.add_subplot(xlabel=unit, title=title)
        axes.set_facecolor("#dddddd")
        scale = LogNorm(max(1.0, largest / RANGE), max(largest, 2.0), clip=True)
        some = np.ma.masked_equal(spikes, 0)
        colours = axes.pcolormesh(times, np.arange(count + 1), some, cmap=COLOURS, norm=scale)
        axes.set_yticks(np.arange(0, count, every) + 0.5, layers[::every])
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        axes.invert_yaxis()
        label = f"spikes per {unit} (grey: none)"
        figure.colorbar(colours, ax=axes, label=label, format="{x:,.0f}")
    return figure


def pixels(figure: Figure) -> np.ndarray:
    """The figure as a screen shows it, uint8 RGB [H, W, 3]."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
