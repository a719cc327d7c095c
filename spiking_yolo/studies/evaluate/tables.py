"""What an evaluation prints: tables that fit 100 columns."""

from collections.abc import Callable, Sequence

from spiking_yolo.io.tables import columns, percent
from spiking_yolo.metrics.energy import CHIPS, PJ_PER_MJ, Account
from spiking_yolo.snn.counting import Counts
from spiking_yolo.studies.evaluate.break_even import BreakEven
from spiking_yolo.studies.evaluate.intervals import Intervals
from spiking_yolo.studies.evaluate.rows import Row, Table

NOTE = """\
fp32: 32-bit float and its ANN, as most papers print it; the others: 8-bit weights and an 8-bit ANN.
8 bit: 32-bit sums, no memory. SRAM: every access is paid, with 16- or 32-bit potentials.
reuse: each byte moves once per pass. chips: published pJ per synaptic event, TrueNorth to Loihi.
All but chips at 45 nm; operations are signed digits, or messages where spikes carry any value."""


def in_precision(precision: str) -> str:
    """What a title says behind a name: nothing where a network is computed as usual."""
    return "" if precision == "float32" else f", {precision}"


def main_table(table: Table, figures: Sequence[str]) -> str:
    """One line per row: figures in percent, spikes, operations per MAC of the ANN in three countings, output error."""
    head = ["", *figures, "minus ANN", "M spikes", "rate", *Counts._fields, "error"]
    unit = [""] * (len(figures) + 4) + ["per MAC"] * 3 + [""]
    rows = [head, unit, ["ANN", *_figures(table.ann, figures), *[""] * 7]]
    for row in table.baseline:
        rows.append([f"ANN {row['bits']} bit", *_figures(row, figures), _minus_ann(row, table, figures), *[""] * 6])
    for row in table.steps:
        rows.append([f"T={row['T']}", *_spiking(row, table, figures)])
    if table.exit:
        rows.append([f"exit, mean T={table.exit['mean_T']:.1f}", *_spiking(table.exit, table, figures)])
    return columns(rows)


def _figures(row: Row, names: Sequence[str]) -> list[str]:
    return [percent(row[name]) for name in names]


def _minus_ann(row: Row, table: Table, figures: Sequence[str]) -> str:
    return percent(row[figures[0]] - table.ann[figures[0]], "+.1f")


def _spiking(row: Row, table: Table, figures: Sequence[str]) -> list[str]:
    work = [f"{row['spikes_per_image'] / 1e6:.3g}", f"{row['mean_rate']:.4f}"]
    work += [f"{row[f'sops_per_mac_{counting}']:.3g}" for counting in Counts._fields]
    return [*_figures(row, figures), _minus_ann(row, table, figures), *work, f"{row['output_error']:.3f}"]


def energy_table(table: Table, accounts: Sequence[Account], worth: Sequence[BreakEven] = ()) -> str:
    """mJ per image in every account, and by the published energies of chips; what an operation costs; break-even."""
    chips = CHIPS.values()

    def cells(f: Callable[[Account], float | str]) -> list[str]:
        return [v if isinstance(v, str) else f"{v:.3g}" for v in map(f, accounts)]

    def spiking(title: str, row: Row) -> list[str]:
        low, high = (pj * row["effective_ACs"] / PJ_PER_MJ for pj in (min(chips), max(chips)))
        return [title, *cells(lambda a: row[a.energy]), f"{low:.3g} - {high:.3g}"]

    value = next(iter(table.works.values())).value
    rows = [["mJ per image", *(account.name for account in accounts), "chips"]]
    rows.append(["ANN", *cells(lambda a: table.ann[a.energy]), ""])
    rows += [spiking(f"T={row['T']}", row) for row in table.steps]
    if table.exit:
        rows.append(spiking("early exit", table.exit))
    rows.append(["pJ per MAC", *cells(lambda a: a.mac), ""])
    rows.append(["pJ per operation", *cells(lambda a: a.operation(value)), f"{min(chips)} - {max(chips)}"])
    if worth:
        even = {one.account: one for one in worth}
        rows.append(["even at operations/MAC", *cells(lambda a: even[a.key].operations), ""])
        rows.append(["less than the ANN", *cells(lambda a: even[a.key].text()), ""])
    return columns(rows)


def neurobench_table(table: Table) -> str:
    """NeuroBench's counts, per image."""
    rows = [["NeuroBench", "effective ACs (G)", "effective MACs (G)", "activation sparsity", "membrane updates (M)"]]
    for row in table.steps:
        counts = (row["effective_ACs"] / 1e9, row["effective_MACs"] / 1e9, row["activation_sparsity"])
        rows.append([f"T={row['T']}", *(f"{n:.3g}" for n in (*counts, row["membrane_updates"] / 1e6))])
    footprint = table.steps[-1]["footprint_bytes"] / 1e6
    return f"{columns(rows)}\nfootprint {footprint:.3g} MB: 8-bit weights and 16-bit potentials"


def interval_table(intervals: Intervals, figure: str) -> str:
    """95 % intervals of one figure and of its difference to the ANN, in percent."""
    rows = [["", figure, "95 % interval", "minus ANN", "95 % interval"]]
    for name, row in intervals.items():
        cells = [row_name(name)]
        for key in (figure, f"{figure}_minus_ann"):
            i = row.get(key)
            cells += [percent(i.value, ".1f"), f"[{percent(i.low)}, {percent(i.high)}]"] if i else ["", ""]
        rows.append(cells)
    return columns(rows)


def class_table(table: Table) -> str:
    """AP of every class that has objects, in percent, and how many; the last steps where not all fit the width."""
    names = ["ann", *[str(row["T"]) for row in table.steps][-8:]]
    objects = table.scored["ann"].objects
    rows = [["class", "n", *map(row_name, names), "minus ANN"]]
    for label in table.scored["ann"].per_class:
        values = [table.scored[name].per_class[label] for name in names]
        rows.append([label, str(objects[label]), *map(percent, values), percent(values[-1] - values[0], "+.1f")])
    return columns(rows)


def row_name(name: str) -> str:
    """The name of a row of table.scored as a table shows it."""
    if name.isdecimal():
        return f"T={name}"
    return {"ann": "ANN", "exit": "early exit"}.get(name, f"ANN {name}")
