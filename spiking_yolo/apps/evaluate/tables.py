"""Records of all images -> the rows of a table: figures, spikes, operations and energy at every
step.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spiking_yolo.apps.evaluate.costs import CostModel
from spiking_yolo.apps.evaluate.records import ImageRecord, StepRecord
from spiking_yolo.apps.evaluate.scoring import COCO_NAMES, Scored, Scorer
from spiking_yolo.io.tables import columns, percent
from spiking_yolo.metrics.bootstrap import Interval, Resampling
from spiking_yolo.metrics.energy import (
    CHIPS,
    PJ_PER_MJ,
    Account,
    NetworkSize,
    Work,
    accounts,
    charged,
    neurobench,
)
from spiking_yolo.observe import Prediction
from spiking_yolo.snn.counting import Counts

Row = dict[str, Any]
# Timesteps of a table of classes; more do not fit.
COLUMNS = 8


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of one network on one dataset, and the scores that they come from.

    Attributes:
        ann: The figures and MACs of the ANN, and its energy in every account.
        steps: One row per timestep.
        size: Of the network, for its energy.
        baseline: The quantised ANN.
        exit: Early exit.
        scored: By row: "ann", "4", "8", ..., "8 bit", "exit".
        works: What the spiking network does, by row.
    """

    ann: Row
    steps: list[Row]
    size: NetworkSize
    baseline: list[Row] = field(default_factory=list)
    exit: Row | None = None
    scored: dict[str, Scored] = field(default_factory=dict)
    works: dict[str, Work] = field(default_factory=dict)


def table(
    records: Sequence[ImageRecord],
    scorer: Scorer,
    model: CostModel,
    energy: Sequence[Account] = accounts(),
    remark: str = "",
) -> Table:
    """Score every column of the records, and average what they cost per image.

    remark: of the method, in every row of the spiking network.
    """
    macs = _mean(records, "macs")
    analogue = _mean(records, "analogue_macs")
    size = model.size(macs, _mean(records, "neurons"))
    charge = charged(model.value)
    remarked = {"remark": remark} if remark else {}
    scored: dict[str, Scored] = {}
    works: dict[str, Work] = {}

    def ann_row(name: str, predictions: list[Prediction]) -> Row:
        scored[name] = scorer.score(predictions)
        return {**scored[name].figures, "macs": macs}

    def spiking_row(name: str, at: Sequence[StepRecord], t: float) -> Row:
        scored[name] = scorer.score([step.prediction for step in at])
        operations = _mean_counts([step.operations for step in at])
        sent = _mean_counts([step.sent for step in at])
        events = _mean_counts([step.events for step in at])
        updates, spikes = _mean(at, "updates"), _mean(at, "spikes")
        work = model.work(t, size, operations[charge], events[charge], updates, analogue)
        works[name] = work
        products: Row = {}
        if at[0].products:
            spent = _mean_counts([step.products for step in at])[model.counting]
            products["products_share"] = spent / operations[model.counting]
        return {
            **scored[name].figures,
            "spikes_per_image": spikes,
            "mean_rate": _mean(at, "mean_rate"),
            "sops_per_image": operations[model.counting],
            **{f"sops_per_mac_{counting}": value / macs for counting, value in operations.items()},
            "output_error": _mean(at, "error"),
            **{account.energy: account.snn(work, size) for account in energy},
            **neurobench(work, size, sent["messages"]),
            **products,
            **remarked,
        }

    def exit_row(at: Sequence[StepRecord], last: Row) -> Row:
        row = {"mean_T": _mean(at, "t"), **spiking_row("exit", at, _mean(at, "t"))}
        figure, full = scorer.main[0], last["sops_per_image"]
        whole = last[figure]
        row[f"{figure}_kept"] = scored["exit"].figures[figure] / whole if whole else float("nan")
        row["operations_saved"] = 1 - row["sops_per_image"] / full if full else 0.0
        return row

    ann = ann_row("ann", [record.ann for record in records])
    ann |= {account.energy: account.ann(size) for account in energy}
    steps: list[Row] = []
    for t in records[0].steps:
        at = [record.steps[t] for record in records]
        steps.append({"T": t, **spiking_row(str(t), at, float(t))})
    baseline: list[Row] = []
    for bits in records[0].quantised:
        predictions = [record.quantised[bits] for record in records]
        baseline.append({"bits": bits, **ann_row(f"{bits} bit", predictions)})
    stops = [record.exit for record in records if record.exit is not None]
    early = exit_row(stops, steps[-1]) if stops else None
    return Table(ann, steps, size, baseline, early, scored, works)


def _mean(records: Sequence[ImageRecord] | Sequence[StepRecord], name: str) -> float:
    return float(np.mean([getattr(record, name) for record in records]))


def _mean_counts(counts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means by counting."""
    return {name: float(np.mean([count[name] for count in counts])) for name in Counts._fields}


def seconds_per_image(records: Sequence[ImageRecord]) -> float:
    """Of simulating and reading the predictions, without the ANN and the files."""
    return _mean(records, "seconds")


Intervals = dict[str, dict[str, Interval]]


def resamplings(table: Table, n: int, seed: int) -> dict[str, Resampling]:
    """By row, as in table.scored."""
    by_row: dict[str, Resampling] = {}
    for name, scored in table.scored.items():
        if scored.resampled:
            by_row[name] = Resampling.of(scored.resampled(), n, seed)
    return by_row


def row_intervals(rows: Mapping[str, Resampling]) -> Intervals:
    """Row -> figure -> 95 % interval; "FIGURE_minus_ann" is the paired difference. rows: with one
    named "ann".
    """
    by_row: Intervals = {}
    for name, resampling in rows.items():
        by_row[name] = intervals(resampling)
        if name != "ann":
            for figure, interval in intervals(resampling - rows["ann"]).items():
                by_row[name][f"{figure}_minus_ann"] = interval
    return by_row


def differences(methods: Mapping[str, Mapping[str, Resampling]]) -> dict[str, Intervals]:
    """Method -> T -> figure -> 95 % interval of the method minus the first method, on the same
    draws of images.

    methods: rows by method. Of the first there is nothing.
    """
    if not methods:
        return {}
    (_, reference), *others = methods.items()
    minus: dict[str, Intervals] = {}
    for name, rows in others:
        steps = [t for t in rows if t.isdecimal()]
        minus[name] = {t: intervals(rows[t] - reference[t]) for t in steps}
    return minus


def intervals(resampling: Resampling) -> dict[str, Interval]:
    """By figure, named as in a table."""
    by_figure = resampling.intervals()
    return {COCO_NAMES.get(name, name): interval for name, interval in by_figure.items()}


@dataclass(frozen=True)
class BreakEven:
    """Where the spiking network uses less energy than the ANN, in one account.

    Attributes:
        account: Key of the account.
        ann: Energy of the ANN in mJ.
        T: Timesteps of the longest run.
        measured: Operations per MAC of the ANN in that run.
        operations: Below so many operations per MAC, T steps take less energy; negative: never.
        until: The T up to which it uses less, by linear interpolation between the steps that were
            measured; None: at each of them.
    """

    account: str
    ann: float
    T: int
    measured: float
    operations: float
    until: float | None

    def text(self) -> str:
        """At which of the timesteps 1..T it uses less."""
        if self.until is None:
            return "all"
        return f"T <= {int(self.until)}" if self.until >= 1 else "never"


def break_even(table: Table, accounts: Sequence[Account]) -> list[BreakEven]:
    """In the account "fp32" against the float ANN, in the others against the 8-bit one; nothing in
    an account without an ANN.
    """
    last = table.steps[-1]
    work, size = table.works[str(last["T"])], table.size
    results: list[BreakEven] = []
    for account in accounts:
        ann = account.ann(size)
        if math.isnan(ann):
            continue
        one = BreakEven(
            account=account.key,
            ann=ann,
            T=last["T"],
            measured=work.operations / size.macs,
            operations=account.break_even(work, size),
            until=crossing(table.steps, account.energy, start(account, work, size), ann),
        )
        results.append(one)
    return results


def start(account: Account, work: Work, size: NetworkSize) -> float:
    """mJ before the first spike: what analogue layers cost."""
    return account.snn(Work(0, 0, analogue_macs=work.analogue_macs), size)


def crossing(steps: Sequence[Row], key: str, before: float, budget: float) -> float | None:
    """The T at which the energy, linear between (0, before) and the rows, first passes the budget;
    None: never.
    """
    if before > budget:
        return 0.0
    t, energy = 0.0, before
    for row in steps:
        if row[key] > budget:
            return t + (row["T"] - t) * (budget - energy) / (row[key] - energy)
        t = float(row["T"])
        energy = row[key]
    return None


NOTE = """\
fp32: 32-bit float and its ANN, as most papers print it; the others: 8-bit weights and an 8-bit ANN.
8 bit: 32-bit sums, no memory. SRAM: every access is paid, with 16- or 32-bit potentials.
reuse: each byte moves once per pass. chips: published pJ per synaptic event, TrueNorth to Loihi.
Loihi: energies per event fitted to that chip (SANA-FE, 12 %), a lower bound; no ANN runs on it.
All but Loihi and chips at 45 nm; operations are signed digits, or messages where spikes carry any
value."""


def main_table(table: Table, figures: Sequence[str]) -> str:
    """One line per row: figures in percent, spikes, operations per MAC of the ANN in three
    countings, output error.
    """
    head = ["", *figures, "minus ANN", "M spikes", "rate", *Counts._fields, "error"]
    unit = [""] * (len(figures) + 4) + ["per MAC"] * 3 + [""]
    rows = [head, unit, ["ANN", *_figures(table.ann, figures), *[""] * 7]]
    for row in table.baseline:
        cells = [*_figures(row, figures), _minus_ann(row, table, figures)]
        rows.append([f"ANN {row['bits']} bit", *cells, *[""] * 6])
    for row in table.steps:
        rows.append([f"T={row['T']}", *_spiking(row, table, figures)])
    if table.exit:
        title = f"exit, mean T={table.exit['mean_T']:.1f}"
        rows.append([title, *_spiking(table.exit, table, figures)])
    return columns(rows)


def _figures(row: Row, names: Sequence[str]) -> list[str]:
    return [percent(row[name]) for name in names]


def _minus_ann(row: Row, table: Table, figures: Sequence[str]) -> str:
    return percent(row[figures[0]] - table.ann[figures[0]], "+.1f")


def _spiking(row: Row, table: Table, figures: Sequence[str]) -> list[str]:
    work = [f"{row['spikes_per_image'] / 1e6:.3g}", f"{row['mean_rate']:.4f}"]
    work += [f"{row[f'sops_per_mac_{counting}']:.3g}" for counting in Counts._fields]
    return [
        *_figures(row, figures),
        _minus_ann(row, table, figures),
        *work,
        f"{row['output_error']:.3f}",
    ]


def energy_table(table: Table, accounts: Sequence[Account], worth: Sequence[BreakEven] = ()) -> str:
    """mJ per image in every account, and by the published energies of chips; what an operation
    costs; break-even.
    """
    low, high = min(CHIPS.values()), max(CHIPS.values())

    def cells(number: Callable[[Account], float]) -> list[str]:
        values = [number(account) for account in accounts]
        return ["-" if math.isnan(value) else f"{value:.3g}" for value in values]

    def spiking(title: str, row: Row) -> list[str]:
        ends = [pj * row["effective_ACs"] / PJ_PER_MJ for pj in (low, high)]
        return [title, *cells(lambda a: row[a.energy]), f"{ends[0]:.3g} - {ends[1]:.3g}"]

    value = next(iter(table.works.values())).value
    rows = [["mJ per image", *(account.name for account in accounts), "chips"]]
    rows.append(["ANN", *cells(lambda a: table.ann[a.energy]), ""])
    for row in table.steps:
        rows.append(spiking(f"T={row['T']}", row))
    if table.exit:
        rows.append(spiking("early exit", table.exit))
    rows.append(["pJ per MAC", *cells(lambda a: a.mac), ""])
    rows.append(["pJ per operation", *cells(lambda a: a.operation(value)), f"{low} - {high}"])
    if worth:
        even = {one.account: one for one in worth}
        least = ["even at operations/MAC"]
        less = [f"less than ANN, T<={worth[0].T}"]
        for account in accounts:
            one = even.get(account.key)
            least.append(f"{one.operations:.3g}" if one else "-")
            less.append(one.text() if one else "-")
        rows += [[*least, ""], [*less, ""]]
    return columns(rows)


def neurobench_table(table: Table) -> str:
    """NeuroBench's counts, per image."""
    head = ["effective ACs (G)", "effective MACs (G)", "activation sparsity"]
    rows = [["NeuroBench", *head, "membrane updates (M)"]]
    for row in table.steps:
        counts = (
            row["effective_ACs"] / 1e9,
            row["effective_MACs"] / 1e9,
            row["activation_sparsity"],
            row["membrane_updates"] / 1e6,
        )
        rows.append([f"T={row['T']}", *(f"{n:.3g}" for n in counts)])
    footprint = table.steps[-1]["footprint_bytes"] / 1e6
    return f"{columns(rows)}\nfootprint {footprint:.3g} MB: 8-bit weights and 16-bit potentials"


def interval_table(intervals: Intervals, figure: str) -> str:
    """95 % intervals of one figure and of its difference to the ANN, in percent."""
    rows = [["", figure, "95 % interval", "minus ANN", "95 % interval"]]
    for name, row in intervals.items():
        cells = [row_name(name)]
        for key in (figure, f"{figure}_minus_ann"):
            i = row.get(key)
            if i:
                cells += [percent(i.value, ".1f"), f"[{percent(i.low)}, {percent(i.high)}]"]
            else:
                cells += ["", ""]
        rows.append(cells)
    return columns(rows)


def class_table(table: Table) -> str:
    """AP of every class that has objects, in percent, and how many; the last steps where not all
    fit the width.
    """
    steps = [str(row["T"]) for row in table.steps]
    names = ["ann", *steps[-COLUMNS:]]
    objects = table.scored["ann"].objects
    rows = [["class", "n", *map(row_name, names), "minus ANN"]]
    for label in table.scored["ann"].per_class:
        values = [table.scored[name].per_class[label] for name in names]
        cells = [*map(percent, values), percent(values[-1] - values[0], "+.1f")]
        rows.append([label, str(objects[label]), *cells])
    early = steps[:-COLUMNS]
    return columns(rows) + (f"\nnot shown: T = {', '.join(early)}" if early else "")


def row_name(name: str) -> str:
    """The name of a row of table.scored as a table shows it."""
    if name.isdecimal():
        return f"T={name}"
    return {"ann": "ANN", "exit": "early exit"}.get(name, f"ANN {name}")
