"""Figures in one style, apart from matplotlib's global settings, and the plots that commands share.

with plot("accuracy.png", "timesteps T", "mAP50 (%)") as axes:
    draw_curves(axes, {"msat": (T, accuracy, low, high)})
    draw_reference(axes, "ANN", 41.0)
    log_steps(axes)
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spiking_yolo.draw.colours import colours_of
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
    colours = colours or colours_of(series)
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
            axes.fill_between(x, low, high, color=colours[name], alpha=0.18, linewidth=0)
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


def least_height(axes: Axes, height: float) -> None:
    """Make the y axis at least so high, so that small differences look small."""
    low, high = axes.get_ylim()
    if high - low < height:
        middle = (low + high) / 2
        axes.set_ylim(middle - height / 2, middle + height / 2)
