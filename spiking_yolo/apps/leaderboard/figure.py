"""The picture of a leaderboard: AP50 against absolute operations per image."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import NullFormatter

from spiking_yolo.apps.leaderboard.board import GIGA, Leaderboard, Row, ann_runs
from spiking_yolo.apps.leaderboard.published import Published
from spiking_yolo.draw import FigureFormat
from spiking_yolo.draw.colours import colours_of
from spiking_yolo.draw.curves import MARKERS, REFERENCE
from spiking_yolo.draw.figure import paper_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Inches: width of the picture, height of a panel, and of a line of its legend.
WIDTH, HEIGHT, LEGEND = 9.0, 3.6, 0.19
# Widths of the measured part and of the strip of unknown operations.
WIDTHS = (3.0, 1.8)
# Of the legend.
COLUMNS = 2
# AP50 from which a step has found objects.
FOUND = 1e-3
# Between two texts, of the height of a panel.
LINE = 0.05
# Decades of operations that the name of a network covers.
NAME = 0.6
# Open markers, by where a figure was read.
LEVEL_MARKERS = {"paper": "o", "abstract": "s", "code": "h", "thread": "^", "cited": "D"}
OPEN: dict[str, Any] = {"color": REFERENCE, "markerfacecolor": "none", "linestyle": "none"}


def draw(board: Leaderboard, path: Path, also: FigureFormat) -> None:
    """Save a panel per dataset: curves over T of what was measured; published detectors with open
    markers, those whose operations are unknown in a strip of their own.
    """
    datasets = board.datasets
    # In every panel.
    colours = colours_of(sorted({row.method for row in board.rows}))
    heights: list[float] = []
    for rows in datasets.values():
        curves = len({(row.method, *row.key[2:4]) for row in rows}) + len(ann_runs(rows))
        heights += [HEIGHT, LEGEND * (2 + curves // COLUMNS)]
    with paper_figure(path, WIDTH, sum(heights), also=also) as figure:
        grid = figure.add_gridspec(len(heights), 2, width_ratios=WIDTHS, height_ratios=heights)
        for i, ((dataset, rule), rows) in enumerate(datasets.items()):
            axes = figure.add_subplot(
                grid[2 * i, 0], ylabel="AP50 (%)", title=f"{dataset}, {rule}'s rule"
            )
            axes.grid(True, which="both")
            published = [one for one in board.published if one.dataset == dataset]
            _draw_measured(axes, rows, board.counting, colours)
            _draw_known(axes, published)
            _set_operations(axes, board.counting)
            _draw_unknown(figure.add_subplot(grid[2 * i, 1], sharey=axes), published)
            _name_anns(axes, rows)
            below = figure.add_subplot(grid[2 * i + 1, :])
            below.set_axis_off()
            below.legend(*axes.get_legend_handles_labels(), loc="upper left", ncols=COLUMNS)


def _set_operations(axes: "Axes", counting: str) -> None:
    """A logarithmic axis of whole decades."""
    axes.set_xscale("log")
    left, right = axes.dataLim.intervalx
    if left <= right:
        decades = math.floor(math.log10(0.9 * left)), math.ceil(math.log10(1.1 * right))
        axes.set_xlim(10.0 ** decades[0], 10.0 ** decades[1])
    axes.set_xlabel(f"synaptic operations per image, 10⁹ ({counting})")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _draw_measured(
    axes: "Axes", rows: Sequence[Row], counting: str, colours: Mapping[str, str]
) -> None:
    """A curve over T per network, size and method, in the colour of the method, from the first step
    that finds objects on; and the MACs of the ANNs.
    """
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.key):
        groups.setdefault((row.method, row.key.network, row.key.size), []).append(row)
    for i, ((method, network, size), group) in enumerate(groups.items()):
        images = sorted({row.run.n for row in group})
        n = ", ".join(map(str, images))
        label = f"{method}, {network} {size}, n = {n}"
        # Steps before the first objects would stretch a logarithmic axis over many decades.
        finding = [
            row for row in group if row.step.operations[counting] and row.step.score.ap50 >= FOUND
        ]
        if not finding:
            continue
        x = [row.step.operations[counting] / GIGA for row in finding]
        y = [100 * row.step.score.ap50 for row in finding]
        marker = MARKERS[i % len(MARKERS)]
        style: dict[str, Any] = {"marker": marker, "markersize": 8, "markeredgecolor": "white"}
        axes.plot(x, y, color=colours[method], label=label, **style)
    for run, ann in ann_runs(rows):
        label = f"{run.network} {run.size} as an ANN, MACs"
        style = {"color": REFERENCE, "marker": "p", "markersize": 7, "linestyle": "none"}
        axes.plot(run.macs / GIGA, 100 * ann.ap50, label=label, **style)


def _name_anns(axes: "Axes", rows: Sequence[Row]) -> None:
    """The networks' names above the ANNs; those that lie close together move up."""
    low, high = axes.get_ylim()
    line = LINE * (high - low)
    names: list[tuple[float, float]] = []
    for run, ann in sorted(ann_runs(rows), key=lambda pair: pair[1].ap50):
        point = run.macs / GIGA, 100 * ann.ap50
        at = point[1] + line
        for macs, height in names:
            if abs(math.log10(point[0] / macs)) < NAME and abs(at - height) < line:
                at = height + line
        names.append((point[0], at))
        axes.annotate(
            run.network,
            point,
            (point[0], at),
            color=REFERENCE,
            fontsize="small",
            ha="center",
            arrowprops={"arrowstyle": "-", "color": REFERENCE, "linewidth": 0.6},
        )


def _draw_known(axes: "Axes", published: Sequence[Published]) -> None:
    for one in published:
        if one.ap50 is not None and one.operations is not None:
            label = f"{one.name}, as published ({one.level})"
            axes.plot(one.operations, one.ap50, LEVEL_MARKERS[one.level], label=label, **OPEN)


def _draw_unknown(strip: "Axes", published: Sequence[Published]) -> None:
    """One marker with its name per detector, without a place on the axis of operations."""
    points: list[tuple[float, Published]] = []
    for one in published:
        if one.ap50 is not None and one.operations is None:
            points.append((one.ap50, one))
            strip.plot(0.08, one.ap50, LEVEL_MARKERS[one.level], **OPEN)
    if not points:
        strip.set_axis_off()
        return
    strip.set_title("as published, operations unknown")
    strip.set_facecolor("#f4f4f4")
    strip.set_xlim(0, 1)
    strip.set_xticks([])
    strip.tick_params(axis="y", labelleft=False, length=0)
    low, high = strip.get_ylim()
    at = low
    for ap50, one in sorted(points, key=lambda point: (point[0], point[1].name)):
        # Texts of detectors that lie close together move up.
        at = max(at, ap50)
        strip.plot([0.1, 0.16], [ap50, at], color=REFERENCE, linewidth=0.6)
        text = f"{one.name}: {ap50:g} ({one.level})"
        strip.text(0.17, at, text, va="center", fontsize=7)
        at += LINE * (high - low)
