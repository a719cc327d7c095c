"""Line and bar plots in one style."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator

from spiking_yolo.draw import FigureFormat
from spiking_yolo.draw.boxes import COLOURS
from spiking_yolo.draw.figure import STYLE, paper_figure
from spiking_yolo.errors import UserError

Values = Sequence[float] | np.ndarray
SIZE = (4.6, 3.2)  # inches
MARKERS = "osD^vPX*"
DASHES = ("--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
REFERENCE = "#444444"
CHARACTERS = 72  # that fit below an axis of SIZE


def line_plot(
    path: str | Path,
    series: Mapping[str, tuple[Values, ...]],
    xlabel: str,
    ylabel: str,
    logx: bool = False,
    hlines: Mapping[str, float] | None = None,
    logy: bool = False,
    marks: Mapping[str, tuple[float, float]] | None = None,
    hbands: Mapping[str, tuple[float, float]] | None = None,
    points: Mapping[str, tuple[float, float]] | None = None,
    least: float = 0.0,
    also: FigureFormat = "png",
) -> None:
    """Save curves as .png, .pdf or .svg.

    series: name -> (x, y) or (x, y, lower, upper), the last two drawn as a band. hlines: name -> y,
    horizontal references such as the ANN's accuracy, hbands: the bands of some of them, and points:
    name -> (x, y), references too. logx, logy: logarithmic axes, base 2; few whole x become the
    ticks. marks: a point of a series that stands out, name -> (x, y). least: height of the y axis
    in its unit, at least, so that small differences look small. Curves that lie on each other are
    nested: those below are thicker. Raises UserError when lengths differ, there is nothing to draw,
    or an x of logx is not positive.
    """
    curves = _checked(series, logx)
    with paper_figure(path, *SIZE, also=also) as figure:
        axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
        axes.grid(True)
        above = _hidden(list(curves.values()))
        for i, (name, (x, y, *band)) in enumerate(curves.items()):
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            wider = {"linewidth": 1.6 + 1.2 * above[i], "markersize": 5 + 2 * above[i]}
            style = {"color": colour, "marker": marker, "markevery": max(1, len(x) // 12), **wider}
            axes.plot(x, y, label=name, markeredgecolor="white", mew=0.5, **style)
            if band:
                axes.fill_between(x, band[0], band[1], color=colour, alpha=0.18, linewidth=0)
            if marks and name in marks:
                axes.plot(
                    *marks[name],
                    "*",
                    ms=11,
                    color=colour,
                    markeredgecolor="black",
                    mew=0.7,
                    zorder=3,
                )
        for i, (name, y) in enumerate((hlines or {}).items()):
            axes.axhline(
                y,
                label=name,
                color=REFERENCE,
                linestyle=DASHES[i % len(DASHES)],
                linewidth=1.1,
                zorder=1,
            )
            if hbands and name in hbands:
                axes.axhspan(*hbands[name], color=REFERENCE, alpha=0.1, linewidth=0, zorder=0.5)
        for name, (x, y) in (points or {}).items():
            axes.plot(
                x,
                y,
                "p",
                ms=8,
                label=name,
                color=REFERENCE,
                markeredgecolor="white",
                mew=0.5,
                zorder=3,
            )
        low, high = axes.get_ylim()
        if high - low < least:
            axes.set_ylim((low + high - least) / 2, (low + high + least) / 2)
        every_x = np.unique(
            [*(v for x, *_ in curves.values() for v in x), *(x for x, _ in (points or {}).values())]
        )
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
    path: str | Path,
    values: Mapping[str, Mapping[str, float]],
    ylabel: str,
    xlabel: str = "",
    number: str = ".3g",
    also: FigureFormat = "png",
) -> None:
    """Save grouped bars as .png, .pdf or .svg, with the value above each bar where there is room.

    values: series name -> {category: value}; a missing category leaves a gap. number: format spec
    of the values. Raises UserError when there is nothing to draw.
    """
    categories = list(dict.fromkeys(c for group in values.values() for c in group))
    if not categories:
        raise UserError("there is no bar to draw; give at least one value")
    bars = len(values) * len(categories)
    width = 0.8 / len(values)
    inches = max(SIZE[0], min(0.32 * bars, 9.0))
    room = CHARACTERS * inches / SIZE[0]
    longest = max(len(format(v, number)) for group in values.values() for v in group.values())
    with paper_figure(path, inches, SIZE[1], also=also) as figure:
        axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
        axes.grid(axis="y")
        for i, (name, group) in enumerate(values.items()):
            at = [
                k + (i - (len(values) - 1) / 2) * width
                for k, c in enumerate(categories)
                if c in group
            ]
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


def ranked_bars(
    path: str | Path,
    values: Mapping[str, float],
    xlabel: str,
    number: str = "+.1f",
    least: float = 0.0,
    also: FigureFormat = "png",
) -> None:
    """Save one horizontal bar per entry, in the given order from above, with its value, as .png,
    .pdf or .svg.

    number: format spec of the values. least: length of the axis at least, in its unit; 0 is always
    on it. Raises UserError when there is nothing to draw.
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
        low, high = min(0.0, *values.values()), max(0.0, *values.values())
        room = max(0.14 * (high - low), (least - (high - low)) / 2)
        axes.set_xlim(low - room, high + room)
        axes.set_ylim(max(len(values), 4) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)


def _hidden(curves: Sequence[Sequence[np.ndarray]]) -> list[int]:
    """How many later curves lie on each curve, at most 3: at more than half of its points, to a
    hundredth of all.
    """
    low, high = (f([f(y) for _, y, *_ in curves]) for f in (np.nanmin, np.nanmax))
    near = 0.01 * (high - low) or 1.0

    def covers(later: Sequence[np.ndarray], curve: Sequence[np.ndarray]) -> bool:
        same = len(later[0]) == len(curve[0]) and bool((later[0] == curve[0]).all())
        return same and float((np.abs(later[1] - curve[1]) < near).mean()) > 0.5

    return [
        min(3, sum(covers(later, curve) for later in curves[i + 1 :]))
        for i, curve in enumerate(curves)
    ]


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
    """Above the plot, in as many columns as fit; many rows make the figure higher, not the plot
    lower.
    """
    handles, names = axes.get_legend_handles_labels()
    size = STYLE["legend.fontsize"]
    font = FontProperties(family=STYLE["font.family"], size=size)
    longest = max(
        (TextPath((0, 0), name, prop=font).get_extents().width for name in names if name.strip()),
        default=0,
    )
    # A handle and the gaps take five letters' heights.
    room = 72 * figure.get_figwidth() / (longest + 5.2 * size)
    columns = max(1, min(len(names), int(room)))
    rows = -(-len(names) // columns)
    figure.set_figheight(figure.get_figheight() + 1.5 * size / 72 * max(0, rows - 2))
    figure.legend(handles, names, loc="outside upper center", ncols=columns, handlelength=2.2)
