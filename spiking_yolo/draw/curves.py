"""Line and bar plots in one style."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.ticker import LogLocator, MaxNLocator

from spiking_yolo.draw import FigureFormat
from spiking_yolo.draw.colours import COLOURS, colours_of
from spiking_yolo.draw.figure import STYLE, paper_figure
from spiking_yolo.errors import UserError

Values = Sequence[float] | np.ndarray
# Width and height in inches.
SIZE = (4.6, 3.2)
MARKERS = "osD^vPX*"
DASHES = ("--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
REFERENCE = "#444444"
# So many fit below an axis of SIZE, or in a line of a note.
CHARACTERS = 72
NOTE_SIZE = 7


def line_plot(
    path: str | Path,
    series: Mapping[str, tuple[Values, ...]],
    xlabel: str,
    ylabel: str,
    logx: bool = False,
    hlines: Mapping[str, float] | None = None,
    logy: bool = False,
    marks: Mapping[str, tuple[float, float]] | None = None,
    stars: str = "marked",
    hbands: Mapping[str, tuple[float, float]] | None = None,
    points: Mapping[str, tuple[float, float]] | None = None,
    least: float = 0.0,
    colours: Mapping[str, str] | None = None,
    note: str = "",
    also: FigureFormat = "png",
) -> None:
    """Save curves. Of curves that lie on each other, those below are thicker.

    Args:
        path: Ends in .png, .pdf or .svg.
        series: Name -> (x, y), or (x, y, lower, upper) to draw a band too.
        xlabel: Title of the x axis.
        ylabel: Title of the y axis.
        logx: Whether the x axis is logarithmic, base 2; a few whole x become its ticks.
        hlines: Name -> y of a reference, such as the accuracy of the ANN.
        logy: Whether the y axis is logarithmic, base 2.
        marks: Name of a series -> a point of it that is marked with a star.
        stars: What they are, for the legend.
        hbands: Name of an hline -> (lower, upper) of its band.
        points: Name -> (x, y) of a reference.
        least: Smallest height of the y axis, so that small differences look small.
        colours: Name -> its colour, see `colours_of`, for figures that have some of their series in
            common; its place among these names says its marker. Default: those of this figure.
        note: What the figure does not show, below it.
        also: A second format in which the figure is saved.

    Raises:
        UserError: There is nothing to draw, lists differ in length, or an x of logx is not
            positive.
    """
    curves = _checked(series, logx)
    with paper_figure(path, *SIZE, also=also) as figure:
        axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
        axes.grid(True)
        _draw_curves(axes, curves, colours_of(curves) if colours is None else colours)
        _draw_stars(axes, marks or {}, stars)
        _draw_references(axes, hlines or {}, hbands or {}, points or {})
        low, high = axes.get_ylim()
        if high - low < least:
            middle = (low + high) / 2
            axes.set_ylim(middle - least / 2, middle + least / 2)
        every_x = [x for x, *_ in curves.values()]
        every_x += [[x] for x, _ in (points or {}).values()]
        _set_x_ticks(axes, np.unique(np.concatenate(every_x)), logx, marked=bool(marks))
        if logy:
            axes.set_yscale("log", base=2)
            axes.yaxis.set_major_formatter("{x:g}")
        _legend(figure, axes)
        if note:
            _note(figure, note)


def _draw_curves(
    axes: Axes,
    curves: Mapping[str, list[np.ndarray]],
    colours: Mapping[str, str],
) -> None:
    above = _covering(list(curves.values()))
    places = list(colours)
    for i, (name, (x, y, *band)) in enumerate(curves.items()):
        colour = colours[name]
        axes.plot(
            x,
            y,
            label=name,
            color=colour,
            linewidth=1.6 + 1.2 * above[i],
            marker=MARKERS[places.index(name) % len(MARKERS)],
            markersize=5 + 2 * above[i],
            markevery=max(1, len(x) // 12),
            markeredgecolor="white",
            mew=0.5,
        )
        if band:
            axes.fill_between(x, band[0], band[1], color=colour, alpha=0.18, linewidth=0)


def _draw_stars(axes: Axes, marks: Mapping[str, tuple[float, float]], label: str) -> None:
    """Each in the colour of its curve, and a white one in the legend."""
    colours = {line.get_label(): line.get_color() for line in axes.lines}
    outline = {"markeredgecolor": "black", "mew": 0.7}
    for name, point in marks.items():
        axes.plot(*point, "*", ms=11, color=colours[name], zorder=3, **outline)
    if marks:
        axes.plot([], [], "*", ms=9, color="white", label=label, **outline)


def _draw_references(
    axes: Axes,
    hlines: Mapping[str, float],
    hbands: Mapping[str, tuple[float, float]],
    points: Mapping[str, tuple[float, float]],
) -> None:
    for i, (name, y) in enumerate(hlines.items()):
        dashes = DASHES[i % len(DASHES)]
        axes.axhline(y, label=name, color=REFERENCE, linestyle=dashes, linewidth=1.1, zorder=1)
        if name in hbands:
            axes.axhspan(*hbands[name], color=REFERENCE, alpha=0.1, linewidth=0, zorder=0.5)
    pentagon = {"ms": 8, "color": REFERENCE, "markeredgecolor": "white", "mew": 0.5, "zorder": 3}
    for name, (x, y) in points.items():
        axes.plot(x, y, "p", label=name, **pentagon)


def _set_x_ticks(axes: Axes, every_x: np.ndarray, logx: bool, marked: bool) -> None:
    """every_x: the values on the axis, each once, in order."""
    whole = not (every_x % 1).any()
    if not logx:
        if whole:
            locator = MaxNLocator("auto", integer=True, min_n_ticks=1)
            axes.xaxis.set_major_locator(locator)
        return
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.3g}")
    if whole and len(every_x) <= 10 and not marked:
        axes.set_xticks(every_x)
        axes.minorticks_off()
    elif not whole and every_x[-1] < 4 * every_x[0]:
        # Powers of two would be one tick or two.
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.minorticks_off()
    elif not whole and every_x[-1] > 4096 * every_x[0]:
        # Powers of two would be long numbers, one over another.
        axes.xaxis.set_major_locator(LogLocator(10))
        axes.minorticks_off()


def bar_plot(
    path: str | Path,
    values: Mapping[str, Mapping[str, float]],
    ylabel: str,
    xlabel: str = "",
    number: str = ".3g",
    also: FigureFormat = "png",
) -> None:
    """Save grouped bars, with the value above each where there is room.

    Args:
        path: Ends in .png, .pdf or .svg.
        values: Name of a series -> category -> value; a missing category leaves a gap.
        ylabel: Title of the y axis.
        xlabel: Title of the x axis.
        number: Format of the values.
        also: A second format in which the figure is saved.

    Raises:
        UserError: There is nothing to draw.
    """
    categories: list[str] = []
    longest = 0
    for group in values.values():
        for category, value in group.items():
            longest = max(longest, len(format(value, number)))
            if category not in categories:
                categories.append(category)
    if not categories:
        raise UserError("there is no bar to draw; give at least one value")
    bars = len(values) * len(categories)
    width = 0.8 / len(values)
    inches = max(SIZE[0], min(0.32 * bars, 9.0))
    room = CHARACTERS * inches / SIZE[0]
    with paper_figure(path, inches, SIZE[1], also=also) as figure:
        axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
        axes.grid(axis="y")
        for i, (name, group) in enumerate(values.items()):
            shift = (i - (len(values) - 1) / 2) * width
            chosen = [category for category in categories if category in group]
            at = [categories.index(category) + shift for category in chosen]
            heights = [group[category] for category in chosen]
            colour = COLOURS[i % len(COLOURS)]
            rectangles = axes.bar(at, heights, 0.92 * width, label=name, color=colour)
            if longest * bars < room:
                axes.bar_label(rectangles, fmt=f"{{:{number}}}", padding=1, fontsize=7)
        axes.margins(y=0.1)
        axes.tick_params(axis="x", length=0)
        turn: dict[str, Any] = {}
        if len(categories) * max(map(len, categories)) > 0.8 * room:
            turn = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(categories)), categories, **turn)
        if len(values) > 1:
            _legend(figure, axes)


def ranked_bars(
    path: str | Path,
    values: Mapping[str, float],
    xlabel: str,
    number: str = "+.1f",
    least: float = 0.0,
    also: FigureFormat = "png",
) -> None:
    """Save one horizontal bar per entry, from above in the order of `values`, with its value.

    Args:
        path: Ends in .png, .pdf or .svg.
        values: Name -> value.
        xlabel: Title of the x axis, on which 0 always lies.
        number: Format of the values.
        least: Smallest length of the x axis.
        also: A second format in which the figure is saved.

    Raises:
        UserError: There is nothing to draw.
    """
    if not values:
        raise UserError("there is no bar to draw; give at least one value")
    height = max(1.6, 0.22 * len(values) + 0.9)
    with paper_figure(path, SIZE[0], height, also=also) as figure:
        axes = figure.add_subplot(xlabel=xlabel)
        axes.grid(axis="x")
        colours = [COLOURS[0] if value >= 0 else COLOURS[3] for value in values.values()]
        bars = axes.barh(list(values), list(values.values()), 0.75, color=colours)
        axes.bar_label(bars, fmt=f"{{:{number}}}", padding=2, fontsize=7)
        axes.axvline(0, color=REFERENCE, linewidth=0.8)
        low = min(0.0, *values.values())
        high = max(0.0, *values.values())
        room = max(0.14 * (high - low), (least - (high - low)) / 2)
        axes.set_xlim(low - room, high + room)
        axes.set_ylim(max(len(values), 4) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)


def _covering(curves: Sequence[Sequence[np.ndarray]]) -> list[int]:
    """How many later curves lie on each curve, at most 3: at more than half of its points, to 1 %
    of the range.
    """
    low = np.nanmin([np.nanmin(y) for _, y, *_ in curves])
    high = np.nanmax([np.nanmax(y) for _, y, *_ in curves])
    near = 0.01 * (high - low) or 1.0
    counts: list[int] = []
    for i, (x, y, *_) in enumerate(curves):
        count = 0
        for later_x, later_y, *_ in curves[i + 1 :]:
            if np.array_equal(later_x, x) and float((np.abs(later_y - y) < near).mean()) > 0.5:
                count += 1
        counts.append(min(3, count))
    return counts


def _checked(series: Mapping[str, tuple[Values, ...]], logx: bool) -> dict[str, list[np.ndarray]]:
    curves: dict[str, list[np.ndarray]] = {}
    for name, values in series.items():
        arrays = [np.asarray(column, float) for column in values]
        one_length = len({array.shape for array in arrays}) == 1 and arrays[0].ndim == 1
        if len(arrays) not in (2, 4) or not one_length:
            raise UserError(f"series {name!r} needs 2 or 4 lists of one length")
        if logx and (arrays[0] <= 0).any():
            raise UserError(
                "a logarithmic axis needs x above 0; drop such points or set logx=False"
            )
        curves[name] = arrays
    if not curves:
        raise UserError("there is nothing to plot; give at least one series")
    return curves


def _legend(figure: Figure, axes: Axes) -> None:
    """Above the plot, in as many columns as fit; many rows make the figure higher, not the plot
    lower.
    """
    handles, names = axes.get_legend_handles_labels()
    size = STYLE["legend.fontsize"]
    font = FontProperties(family=STYLE["font.family"], size=size)
    longest = 0.0
    for name in names:
        if name.strip():
            longest = max(longest, TextPath((0, 0), name, prop=font).get_extents().width)
    # A handle and the gaps take five letters' heights.
    room = 72 * figure.get_figwidth() / (longest + 5.2 * size)
    columns = max(1, min(len(names), int(room)))
    rows = -(-len(names) // columns)
    figure.set_figheight(figure.get_figheight() + 1.5 * size / 72 * max(0, rows - 2))
    figure.legend(handles, names, loc="outside upper center", ncols=columns, handlelength=2.2)


def _note(figure: Figure, text: str) -> None:
    """Below the plot, which stays as high as it is."""
    lines = textwrap.wrap(text, CHARACTERS, break_on_hyphens=False)
    figure.set_figheight(figure.get_figheight() + 1.3 * NOTE_SIZE / 72 * len(lines))
    figure.supxlabel("\n".join(lines), fontsize=NOTE_SIZE)
