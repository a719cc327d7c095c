"""The figures of the bound, and the measured accuracies in one of them."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spiking_yolo.draw import FigureFormat
from spiking_yolo.draw.colours import COLOURS
from spiking_yolo.draw.curves import DASHES, MARKERS, REFERENCE
from spiking_yolo.draw.figure import paper_figure
from spiking_yolo.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from spiking_yolo.apps.bound.run import Bound

SIZE = (7.2, 3.6)
# Colour of what codes would need.
BOUND = "#999999"
PER_MAC = "digits per MAC"
# Codes: what a converted network with these thresholds has, the least of all of digits, and others.
EQUAL, LEAST = "equal slopes", "cheapest digits"
SPATIAL, ONE_EVENT = "neighbours' differences", "one event per value"


@dataclass(frozen=True)
class Point:
    """A measured accuracy in percent with its interval, at digits per MAC; nan where the file has
    none.
    """

    name: str
    digits: float
    ap50: float
    low: float
    high: float


def read_points(path: Path) -> list[Point]:
    """The rows of a csv file with columns name, digits, ap50, low and high.

    Raises:
        UserError: The file cannot be read, lacks a column, or has something else than numbers.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        points = []
        for row in rows:
            numbers = [float(row[key] or "nan") for key in ("digits", "ap50", "low", "high")]
            points.append(Point(row["name"], *numbers))
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise UserError(
            f"--points {path} is not a csv file with the columns name, digits, ap50, low, high"
            f" ({error!r})"
        ) from error
    return points


def draw_error(bound: "Bound", path: Path, also: FigureFormat) -> None:
    """Squared error of the output against operations per MAC, of every code, and of the networks as
    they were measured.
    """
    names = list(dict.fromkeys(row["code"] for row in bound.rows))
    with paper_figure(path, *SIZE, also=also) as figure:
        axes = figure.add_subplot(
            xlabel=PER_MAC, ylabel="squared error of the output", yscale="log"
        )
        axes.grid(True)
        for i, code in enumerate(names):
            errors, operations = bound.curve(code)
            axes.plot(operations, errors, color=COLOURS[i], label=f"{code}, predicted")
        converted, *equal = bound.networks
        style: dict[str, Any] = {"color": REFERENCE, "markeredgecolor": "white", "zorder": 3}
        operations, error, _ = converted.measured
        axes.plot(operations, error, "*", ms=10, label=f"{converted.name}, measured", **style)
        pairs = sorted(one.measured[:2] for one in equal)
        x = [operations for operations, _ in pairs]
        y = [error for _, error in pairs]
        axes.plot(x, y, "o--", linewidth=1, label=f"{EQUAL}, measured", **style)
        axes.yaxis.set_major_formatter("{x:g}")
        figure.legend(loc="outside right upper", handlelength=1.6)


def draw_accuracy(bound: "Bound", points: Sequence[Point], path: Path, also: FigureFormat) -> None:
    """AP50 against operations per MAC: what was measured, and where codes of the same predicted
    error would lie; with the break-even of energy.
    """
    groups: dict[str, list[Point]] = {}
    levels = []
    for point in points:
        if math.isnan(point.digits):
            levels.append(point)
        else:
            groups.setdefault(point.name, []).append(point)
    with paper_figure(path, *SIZE, also=also) as figure:
        axes = figure.add_subplot(xlabel=PER_MAC, ylabel="AP50 (%)")
        axes.grid(True)
        for level in levels:
            axes.axhline(level.ap50, color=REFERENCE, linewidth=1.1, label=level.name)
        for i, (name, group) in enumerate(groups.items()):
            _draw_points(axes, name, sorted(group, key=lambda point: point.digits), i)
        if EQUAL in groups:
            _draw_codes(axes, bound, groups[EQUAL])
        for i, (account, operations) in enumerate(bound.even.items()):
            label = f"break-even: {account}, {operations:.2f}"
            axes.axvline(operations, color=REFERENCE, linestyle=DASHES[i], linewidth=1, label=label)
        figure.legend(loc="outside right upper", handlelength=1.6)


def _draw_points(axes: "Axes", name: str, group: Sequence[Point], i: int) -> None:
    """A line through the points of one name, with their intervals."""
    x = [point.digits for point in group]
    y = [point.ap50 for point in group]
    style: dict[str, Any] = {"color": COLOURS[i], "markeredgecolor": "white", "zorder": 3}
    axes.plot(x, y, label=name, marker=MARKERS[i % len(MARKERS)], **style)
    for point in group:
        ends = [point.low, point.high]
        axes.plot([point.digits] * 2, ends, color=COLOURS[i], linewidth=0.8, alpha=0.6)


def _draw_codes(axes: "Axes", bound: "Bound", equal: Sequence[Point]) -> None:
    """Where other codes reach the accuracy of networks with equal slopes: at the operations that
    they need for the same predicted error.
    """
    equal = sorted(equal, key=lambda point: point.digits)
    digits = np.array([point.digits for point in equal])
    errors, operations = bound.curve(EQUAL)
    of_equal = np.exp(np.interp(np.log(digits), np.log(operations[::-1]), np.log(errors[::-1])))
    accuracy = [point.ap50 for point in equal]
    for code, dashes in zip((LEAST, SPATIAL, ONE_EVENT), DASHES, strict=False):
        x = bound.needed(code, list(of_equal))
        style: dict[str, Any] = {"linewidth": 1.2, "linestyle": dashes, "zorder": 1.5}
        axes.plot(x, accuracy, color=BOUND, label=f"{code}, predicted", **style)
