"""Line, bar and scatter plots in one style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, StrMethodFormatter

from spiking_yolo.draw.figure import paper_figure
from spiking_yolo.draw.palette import PALETTE, hex_colour
from spiking_yolo.errors import UserError

Values = Sequence[float] | np.ndarray
SIZE = (4.6, 3.2)  # inches
MARKERS = "osD^vPX*"
DASHES = ("--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
CHARACTERS = 72  # that a legend row of SIZE takes


def line_plot(
    path: str | Path,
    series: Mapping[str, tuple[Values, ...]],
    xlabel: str,
    ylabel: str,
    logx: bool = False,
    hlines: Mapping[str, float] | None = None,
) -> None:
    """Save curves as .png or .pdf.

    series: name -> (x, y) or (x, y, lower, upper), the last two drawn as a band. hlines: name -> y, horizontal
    references such as the ANN's accuracy. logx: logarithmic x axis, base 2; few x values become the ticks.
    Raises UserError when lengths differ, there is nothing to draw, or an x of logx is not positive.
    """
    curves = _checked(series, (2, 4), logx)
    with paper_figure(path, *SIZE) as figure:
        axes = _axes(figure, xlabel, ylabel)
        for i, (name, (x, y, *band)) in enumerate(curves.items()):
            style = {"color": _colour(i), "marker": _marker(i), "markevery": max(1, len(x) // 12)}
            axes.plot(x, y, label=name, markeredgecolor="white", mew=0.5, **style)
            if band:
                axes.fill_between(x, band[0], band[1], color=_colour(i), alpha=0.18, linewidth=0)
        for i, (name, y) in enumerate((hlines or {}).items()):
            axes.axhline(y, label=name, color="#444444", linestyle=DASHES[i % len(DASHES)], linewidth=1.1, zorder=1)
        every_x = np.unique(np.concatenate([x for x, *_ in curves.values()]))
        if logx:
            _power_axis(axes, every_x)
        elif not (every_x % 1).any():  # steps and epochs
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        _legend(figure, axes)


def bar_plot(
    path: str | Path,
    values: Mapping[str, Mapping[str, float]],
    ylabel: str,
    xlabel: str = "",
    number: str = ".3g",
) -> None:
    """Save grouped bars as .png or .pdf, with the value above each bar where there is room.

    values: series name -> {category: value}; a missing category leaves a gap. number: format spec of the values.
    Raises UserError when there is nothing to draw.
    """
    categories = list(dict.fromkeys(c for group in values.values() for c in group))
    if not categories:
        raise UserError("there is no bar to draw; give at least one value")
    bars = len(values) * len(categories)
    width = 0.8 / len(values)
    inches = max(SIZE[0], min(0.32 * bars, 9.0))
    room = CHARACTERS * inches / SIZE[0]
    longest = max(len(format(v, number)) for group in values.values() for v in group.values())
    with paper_figure(path, inches, SIZE[1]) as figure:
        axes = _axes(figure, xlabel, ylabel)
        axes.grid(False, axis="x")
        for i, (name, group) in enumerate(values.items()):
            at = [k + (i - (len(values) - 1) / 2) * width for k, c in enumerate(categories) if c in group]
            heights = [group[c] for c in categories if c in group]
            drawn = axes.bar(at, heights, 0.92 * width, label=name, color=_colour(i))
            if longest * bars < room:
                axes.bar_label(drawn, fmt=f"{{:{number}}}", padding=1, fontsize=7)
        axes.margins(y=0.1)
        axes.tick_params(axis="x", length=0)
        slanted = len(categories) * max(map(len, categories)) > 0.8 * room
        turn = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
        axes.set_xticks(range(len(categories)), categories, **turn)
        if len(values) > 1:
            _legend(figure, axes)


def scatter_plot(
    path: str | Path,
    points: Mapping[str, tuple[Values, ...]],
    xlabel: str,
    ylabel: str,
    logx: bool = False,
    diagonal: bool = False,
) -> None:
    """Save points as .png or .pdf.

    points: name -> (x, y). diagonal: draw y = x, where SNN and ANN agree. logx: as of `line_plot`.
    Raises UserError when lengths differ, there is nothing to draw, or an x of logx is not positive.
    """
    clouds = _checked(points, (2,), logx)
    with paper_figure(path, *SIZE) as figure:
        axes = _axes(figure, xlabel, ylabel)
        for i, (name, (x, y)) in enumerate(clouds.items()):
            crowded = len(x) > 200
            axes.scatter(
                x,
                y,
                s=8 if crowded else 28,
                alpha=0.4 if crowded else 0.9,
                label=name,
                color=_colour(i),
                marker=_marker(i),
                linewidths=0,
                rasterized=crowded,  # a pdf with thousands of vector points is slow to show
            )
        if diagonal:
            axes.axline((0, 0), slope=1, color="#444444", linestyle="--", linewidth=1, label="y = x", zorder=1)
        if logx:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        _legend(figure, axes)


def _checked(
    series: Mapping[str, tuple[Values, ...]], sizes: tuple[int, ...], logx: bool
) -> dict[str, list[np.ndarray]]:
    arrays = {name: [np.asarray(v, float) for v in values] for name, values in series.items()}
    if not arrays:
        raise UserError("there is nothing to plot; give at least one series")
    for name, values in arrays.items():
        if len(values) not in sizes or len({v.shape for v in values}) > 1 or values[0].ndim != 1:
            raise UserError(f"series {name!r} needs {' or '.join(map(str, sizes))} lists of one length")
    if logx and any((x <= 0).any() for x, *_ in arrays.values()):
        raise UserError("a logarithmic axis needs x above 0; drop such points or set logx=False")
    return arrays


def _axes(figure: Figure, xlabel: str, ylabel: str) -> Axes:
    axes = figure.subplots()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(True)
    return axes


def _power_axis(axes: Axes, x: np.ndarray) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    if len(x) <= 10:
        axes.xaxis.set_major_locator(FixedLocator(x.tolist()))
        axes.xaxis.set_minor_locator(NullLocator())


def _legend(figure: Figure, axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    longest = max(map(len, names), default=0)
    columns = max(1, min(len(names), CHARACTERS // (longest + 7)))
    figure.legend(handles, names, loc="outside upper center", ncols=columns, handlelength=2.2)


def _colour(i: int) -> str:
    return hex_colour(PALETTE[i % len(PALETTE)])


def _marker(i: int) -> str:
    return MARKERS[i % len(MARKERS)]
