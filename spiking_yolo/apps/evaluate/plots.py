"""Plots of a table: accuracy against timesteps and operations, energy against operations."""

import math
from collections.abc import Sequence
from pathlib import Path

from spiking_yolo.apps.evaluate.table import ANN, Row, Table
from spiking_yolo.draw import FigureFormat
from spiking_yolo.draw.colours import COST_MODEL_COLOURS, colours_of
from spiking_yolo.draw.figure import draw_curves, draw_reference, least_height, log_steps, plot

# Points on the axis of a score: with few images, less than that is hardly known.
SPAN = 10.0
# Operations per MAC that are plotted: slow methods have hardly sent anything at T = 1.
LEAST = 0.01
OPERATIONS = "synaptic operations / ANN multiply-accumulates"

Curves = dict[str, tuple[Sequence[float], ...]]


def save_plots(table: Table, folder: Path, also: FigureFormat) -> None:
    """Write accuracy-T.png and accuracy-operations.png, a curve per method, and of one method
    energy-operations.png, a curve per cost model. No plot without a curve.

    also: a second format of every plot.
    """
    ann, figure = table.total[0], table.main[0]
    methods: dict[str, list[Row]] = {}
    for row in table.total:
        if row.work:
            methods.setdefault(row.method, []).append(row)
    if not methods or math.isnan(ann.figures[figure]):
        return
    over_time: Curves = {}
    over_operations: Curves = {}
    for method, rows in methods.items():
        steps: list[int] = []
        scores: list[float] = []
        points: list[tuple[float, float]] = []
        for row in rows:
            steps.append(row.T or 0)
            scores.append(100 * row.figures[figure])
            if _per_mac(row, ann) >= LEAST:
                points.append((_per_mac(row, ann), scores[-1]))
        over_time[method] = (steps, scores, *_band(rows, figure))
        if points:
            over_operations[method] = tuple(zip(*points, strict=True))
    for name, label, curves in (
        ("accuracy-T.png", "timesteps T", over_time),
        ("accuracy-operations.png", OPERATIONS, over_operations),
    ):
        if not curves:
            continue
        with plot(folder / name, label, f"{figure} (%)", also) as axes:
            draw_curves(axes, curves, colours_of(methods))
            draw_reference(axes, ANN, 100 * ann.figures[figure])
            least_height(axes, SPAN)
            log_steps(axes)
    if len(methods) == 1:
        _plot_energy(table, next(iter(methods.values())), folder / "energy-operations.png", also)


def _band(rows: Sequence[Row], figure: str) -> tuple[list[float], ...]:
    """The ends of the intervals in percent, none if there was no bootstrap."""
    low: list[float] = []
    high: list[float] = []
    for row in rows:
        if figure not in row.intervals:
            return ()
        low.append(100 * row.intervals[figure].low)
        high.append(100 * row.intervals[figure].high)
    return low, high


def _per_mac(row: Row, ann: Row) -> float:
    return row.costs["sops_per_image"] / ann.costs["macs"]


def _plot_energy(table: Table, rows: Sequence[Row], path: Path, also: FigureFormat) -> None:
    """Energy as a multiple of the ANN's; nothing of cost models in which no ANN runs."""
    ann = table.total[0]
    curves: Curves = {}
    for cost_model in table.cost_models:
        energy = ann.costs[cost_model.energy]
        points = sorted((_per_mac(row, ann), row.costs[cost_model.energy] / energy) for row in rows)
        if not math.isnan(energy) and points[0][0] > 0:
            curves[cost_model.name] = tuple(zip(*points, strict=True))
    if not curves:
        return
    with plot(path, OPERATIONS, "energy / energy of the ANN", also) as axes:
        draw_curves(axes, curves, COST_MODEL_COLOURS)
        draw_reference(axes, ANN, 1.0)
        log_steps(axes)
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter("{x:g}")
