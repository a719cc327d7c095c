"""The pictures of an evaluation: accuracy against time and operations, precision and recall, change per class."""

import math
from collections.abc import Sequence
from pathlib import Path

from spiking_yolo.draw.curves import line_plot, ranked_bars
from spiking_yolo.metrics.energy import Account
from spiking_yolo.studies.evaluate.break_even import BreakEven
from spiking_yolo.studies.evaluate.intervals import Intervals
from spiking_yolo.studies.evaluate.rows import Table
from spiking_yolo.studies.evaluate.scorers import Scorer

CURVES, CLASSES = 6, 40  # more do not fit
_MOVED = 0.05  # points; less is shown as 0.0
SPAN = 10.0  # points on the axis of a score: with few images, less than that is hardly known


def plot_all(table: Table, scorer: Scorer, method: str, folder: Path, intervals: Intervals | None = None) -> None:
    """mAP-T.png, mAP-operations.png, precision-recall.png and class-change.png; pictures without content are left out.

    scorer: says which figure is plotted and how its pictures are called. intervals: drawn as a band.
    """
    figure, (name, measure) = scorer.main[0], scorer.names
    ann = 100 * table.ann[figure]
    if not math.isnan(ann):
        label, reference = f"{figure} (%)", {"ANN": ann}
        y = [100 * row[figure] for row in table.steps]
        band = _band(table, figure, intervals)
        t = [row["T"] for row in table.steps]
        of_ann = (intervals or {}).get("ann", {}).get(figure)
        spans = {"ANN": (100 * of_ann.low, 100 * of_ann.high)} if of_ann else {}
        path = folder / f"{name}-T.png"
        line_plot(path, {method: (t, y, *band)}, "timesteps T", label, True, reference, hbands=spans, least=SPAN)
        operations = [row["sops_per_image"] / 1e9 for row in table.steps]
        point = {"ANN, multiply-accumulates": (table.ann["macs"] / 1e9, ann)}
        x_label = "synaptic operations per image (10⁹)"
        path = folder / f"{name}-operations.png"
        line_plot(path, {method: (operations, y)}, x_label, label, hlines=reference, points=point, least=SPAN)
    curves = {"ANN": table.scored["ann"].curve}
    curves |= {f"T = {row['T']}": table.scored[str(row["T"])].curve for row in table.steps[-CURVES:]}
    known = {row: curve for row, curve in curves.items() if curve is not None}
    if known:
        line_plot(folder / "precision-recall.png", known, "recall", "precision, mean over classes")
    _class_change(table, folder / "class-change.png", measure)


def plot_energy(table: Table, accounts: Sequence[Account], worth: Sequence[BreakEven], path: Path) -> None:
    """Energy as a multiple of the ANN's against operations per MAC, a curve per account; stars: break-even."""
    stars = {one.account: (one.operations, 1.0) for one in worth if one.operations > 0}
    series, marks = {}, {}
    for account in accounts:
        ann = table.ann[account.energy]
        points = [(row["effective_ACs"] / table.size.macs, row[account.energy] / ann) for row in table.steps]
        if account.key in stars:
            marks[account.name] = stars[account.key]
            points.append(stars[account.key])
        series[account.name] = tuple(zip(*sorted(p for p in points if p[0] > 0), strict=True))
    drawn = {name: curve for name, curve in series.items() if curve}
    label = "synaptic operations / ANN multiply-accumulates"
    line_plot(path, drawn, label, "energy / energy of the ANN", True, {"ANN": 1.0}, logy=True, marks=marks)


def _band(table: Table, figure: str, intervals: Intervals | None) -> tuple[list[float], ...]:
    rows = [(intervals or {}).get(str(row["T"]), {}).get(figure) for row in table.steps]
    known = [i for i in rows if i is not None]
    if len(known) < len(rows):
        return ()
    return [100 * i.low for i in known], [100 * i.high for i in known]


def _class_change(table: Table, path: Path, measure: str) -> None:
    """`measure` of the last step minus the ANN's; of many classes those that change most, and how many others.

    n: of its objects, or images.
    """
    last = table.steps[-1]["T"]
    ann, snn = table.scored["ann"].per_class, table.scored[str(last)].per_class
    change = {name: 100 * (snn[name] - ann[name]) for name in ann if not math.isnan(snn[name] - ann[name])}
    moved = sorted((name for name in change if abs(change[name]) >= _MOVED), key=lambda name: -abs(change[name]))
    chosen = moved[:CLASSES]
    if chosen:
        n = table.scored["ann"].objects
        shown = {f"{name} (n = {n[name]})": change[name] for name in sorted(chosen, key=lambda name: change[name])}
        rest = [f"{len(change) - len(moved)} classes do not change"] * (len(change) > len(moved))
        rest += [f"{len(moved) - len(chosen)} others change less than these"] * (len(moved) > len(chosen))
        label = "\n".join([f"{measure} at T = {last} minus the ANN's, points", *["; ".join(rest)] * bool(rest)])
        ranked_bars(path, shown, label, least=SPAN)
