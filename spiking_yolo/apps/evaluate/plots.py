"""Plots of a table: accuracy against timesteps and operations."""

import math
from collections.abc import Sequence
from pathlib import Path

from spiking_yolo.apps.evaluate.table import ANN, Row, Table
from spiking_yolo.draw.colours import colours_of
from spiking_yolo.draw.figure import draw_curves, draw_reference, least_height, log_steps, plot

# Points on the axis of a score: with few images, less than that is hardly known.
SPAN = 10.0
# Operations per MAC that are plotted: slow methods have hardly sent anything at T = 1.
LEAST = 0.01

Curves = dict[str, tuple[Sequence[float], ...]]


def save_plots(table: Table, folder: Path) -> None:
    """Write accuracy-T.png and accuracy-operations.png, a curve per method."""
    ann, figure = table.total[0], table.main[0]
    methods: dict[str, list[Row]] = {}
    for row in table.total:
        if row.T is not None:
            methods.setdefault(row.method, []).append(row)
    if not methods or math.isnan(ann.figures[figure]):
        return
    over_time: Curves = {}
    over_operations: Curves = {}
    for method, rows in methods.items():
        scores = [100 * row.figures[figure] for row in rows]
        over_time[method] = ([row.T or 0 for row in rows], scores, *_band(rows, figure))
        points: list[tuple[float, float]] = []
        for row, score in zip(rows, scores, strict=True):
            per_mac = row.costs["sops_per_image"] / ann.costs["macs"]
            if per_mac >= LEAST:
                points.append((per_mac, score))
        if points:
            over_operations[method] = tuple(zip(*points, strict=True))
    for name, label, curves in (
        ("accuracy-T.png", "timesteps T", over_time),
        ("accuracy-operations.png", "operations per MAC of the ANN", over_operations),
    ):
        if not curves:
            continue
        with plot(folder / name, label, f"{figure} (%)") as axes:
            draw_curves(axes, curves, colours_of(methods))
            draw_reference(axes, ANN, 100 * ann.figures[figure])
            least_height(axes, SPAN)
            log_steps(axes)


def _band(rows: Sequence[Row], figure: str) -> tuple[list[float], ...]:
    """The ends of the intervals in percent, none if there was no bootstrap."""
    if figure not in rows[0].intervals:
        return ()
    intervals = [row.intervals[figure] for row in rows]
    return [100 * one.low for one in intervals], [100 * one.high for one in intervals]
