"""Line and bar plots in one style."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spiking_yolo.draw.figure import paper_figure
from spiking_yolo.draw.palette import COLOURS
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
    logy: bool = False,
    marks: Mapping[str, tuple[float, float]] | None = None,
) -> None:
    """Save curves as .png, .pdf or .svg.

    series: name -> (x, y) or (x, y, lower, upper), the last two drawn as a band. hlines: name -> y, horizontal
    references such as the ANN's accuracy. logx, logy: logarithmic axes, base 2; few whole x become the ticks. marks: a
    point of a series that stands out, name -> (x, y).
    Raises UserError when lengths differ, there is nothing to draw, or an x of logx is not positive.
    """
    curves = _checked(series, logx)
    with paper_figure(path, *SIZE) as figure:
        axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
        axes.grid(True)
        for i, (name, (x, y, *band)) in enumerate(curves.items()):
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            style = {"color": colour, "marker": marker, "markevery": max(1, len(x) // 12)}
            axes.plot(x, y, label=name, markeredgecolor="white", mew=0.5, **style)
            if band:
                axes.fill_between(x, band[0], band[1], color=colour, alpha=0.18, linewidth=0)
            if marks and name in marks:
                axes.plot(*marks[name], "*", ms=11, color=colour, markeredgecolor="black", mew=0.7, zorder=3)
        for i, (name, y) in enumerate((hlines or {}).items()):
            axes.axhline(y, label=name, color="#444444", linestyle=DASHES[i % len(DASHES)], linewidth=1.1, zorder=1)
        every_x = np.unique(np.concatenate([x for x, *_ in curves.values()]))
        whole = not (every_x % 1).any()  # steps and epochs
        if logx:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:.3g}")
            if whole and len(every_x) <= 10 and not marks:
                axes.set_xticks(every_x)
                axes.minorticks_off()
            elif not whole and every_x[-1] < 4 * every_x[0]:  # an octave or two
                axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
                axes.minorticks_off()
        elif whole:
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        if logy:
            axes.set_yscale("log", base=2)
            axes.yaxis.set_major_formatter("{x:g}")
        _legend(figure, axes)


def bar_plot(
    path: str | Path, values: Mapping[str, Mapping[str, float]], ylabel: str, xlabel: str = "", number: str = ".3g"
) -> None:
    """Save grouped bars as .png, .pdf or .svg, with the value above each bar where there is room.

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
        axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
        axes.grid(axis="y")
        for i, (name, group) in enumerate(values.items()):
            at = [k + (i - (len(values) - 1) / 2) * width for k, c in enumerate(categories) if c in group]
            heights = [group[c] for c in categories if c in group]
            drawn = axes.bar(at, heights, 0.92 * width, label=name, color=COLOURS[i % len(COLOURS)])
            if longest * bars < room:
                axes.bar_label(drawn, fmt=f"{{:{number}}}", padding=1, fontsize=7)
        axes.margins(y=0.1)
        axes.tick_params(axis="x", length=0)
        slanted = len(categories) * max(map(len, categories)) > 0.8 * room
        turn = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
        axes.set_xticks(range(len(categories)), categories, **turn)
        if len(values) > 1:
            _legend(figure, axes)


def _checked(series: Mapping[str, tuple[Values, ...]], logx: bool) -> dict[str, list[np.ndarray]]:
    arrays = {name: [np.asarray(v, float) for v in values] for name, values in series.items()}
    if not arrays:
        raise UserError("there is nothing to plot; give at least one series")
    for name, values in arrays.items():
        if len(values) not in (2, 4) or len({v.shape for v in values}) > 1 or values[0].ndim != 1:
            raise UserError(f"series {name!r} needs 2 or 4 lists of one length")
    if logx and any((x <= 0).any() for x, *_ in arrays.values()):
        raise UserError("a logarithmic axis needs x above 0; drop such points or set logx=False")
    return arrays


def _legend(figure: Figure, axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    longest = max(map(len, names), default=0)
    columns = max(1, min(len(names), CHARACTERS // (longest + 7)))
    figure.legend(handles, names, loc="outside upper center", ncols=columns, handlelength=2.2)
