"""The pictures of an evaluation: accuracy against time and operations, precision and recall, loss per class."""

import math
from collections.abc import Sequence
from pathlib import Path

from spiking_yolo.draw.curves import bar_plot, line_plot
from spiking_yolo.metrics.energy import Account
from spiking_yolo.studies.evaluate.break_even import BreakEven
from spiking_yolo.studies.evaluate.intervals import Intervals
from spiking_yolo.studies.evaluate.rows import Table
from spiking_yolo.studies.evaluate.scorers import Scorer

CURVES, CLASSES = 6, 20  # more do not fit


def plot_all(table: Table, scorer: Scorer, method: str, folder: Path, intervals: Intervals | None = None) -> None:
    """mAP-T.png, mAP-operations.png, precision-recall.png and class-loss.png; pictures without content are left out.

    scorer: says which figure is plotted and how its pictures are called. intervals: drawn as a band.
    """
    figure, (name, measure) = scorer.main[0], scorer.names
    ann = 100 * table.ann[figure]
    if not math.isnan(ann):
        label, reference = f"{figure} (%)", {"ANN": ann}
        y = [100 * row[figure] for row in table.steps]
        band = _band(table, figure, intervals)
        t = [row["T"] for row in table.steps]
        line_plot(folder / f"{name}-T.png", {method: (t, y, *band)}, "timesteps T", label, True, reference)
        operations = [row["sops_per_image"] / 1e9 for row in table.steps]
        macs = table.ann["macs"] / 1e9
        reference = {f"ANN, {macs:.3g} G multiply-accumulates": ann}
        x_label = "synaptic operations per image (10⁹)"
        line_plot(folder / f"{name}-operations.png", {method: (operations, y)}, x_label, label, hlines=reference)
    curves = {"ANN": table.scored["ann"].curve}
    curves |= {f"T = {row['T']}": table.scored[str(row["T"])].curve for row in table.steps[-CURVES:]}
    known = {row: curve for row, curve in curves.items() if curve is not None}
    if known:
        line_plot(folder / "precision-recall.png", known, "recall", "precision, mean over classes")
    _class_loss(table, folder / "class-loss.png", measure)


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


def _class_loss(table: Table, path: Path, measure: str) -> None:
    """`measure` of the ANN minus that of the last step; of many classes those with the largest change."""
    last = table.steps[-1]["T"]
    ann, snn = table.scored["ann"].per_class, table.scored[str(last)].per_class
    loss = {name: 100 * (ann[name] - snn[name]) for name in ann}
    chosen = sorted(loss, key=lambda name: -abs(loss[name]))[:CLASSES]
    if chosen:
        shown = {name: loss[name] for name in sorted(chosen, key=lambda name: -loss[name])}
        bar_plot(path, {f"T = {last}": shown}, f"{measure} of ANN minus SNN at T = {last} (points)", number="z.1f")
