"""Records of all images -> the rows of a table: figures, spikes, operations and energy at every step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spiking_yolo.metrics.energy import Account, accounts
from spiking_yolo.metrics.work import Size, Work, charged, neurobench
from spiking_yolo.snn.counting import Counts
from spiking_yolo.studies.evaluate.cost_model import CostModel
from spiking_yolo.studies.evaluate.record_log import Record
from spiking_yolo.studies.evaluate.scorers import Scored, Scorer

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of one network on one dataset, and the scores that they come from.

    ann: {"macs", figures}, with the energy of every account. steps: one row per timestep. baseline: the quantised ANN.
    exit: early exit. scored: by row: "ann", "4", "8", ..., "8 bit", "exit".
    size: of the network, and works: of every row of the spiking one, for its energy.
    """

    ann: Row
    steps: list[Row]
    size: Size
    baseline: list[Row] = field(default_factory=list)
    exit: Row | None = None
    scored: dict[str, Scored] = field(default_factory=dict)
    works: dict[str, Work] = field(default_factory=dict)


def table(
    records: Sequence[Record],
    scorer: Scorer,
    model: CostModel,
    energy: Sequence[Account] = accounts(),
) -> Table:
    """Score every column of the records, and average what they cost per image."""
    macs, neurons, activations = (_mean(records, key) for key in ("macs", "neurons", "activations"))
    size, charge = model.size(macs, neurons), charged(model.value)
    scored: dict[str, Scored] = {}
    works: dict[str, Work] = {}

    def ann_row(name: str, predictions: list[Any]) -> Row:
        scored[name] = scorer.score(predictions)
        return {**scored[name].figures, "macs": macs}

    def spiking_row(name: str, at: Sequence[dict[str, Any]], t: float) -> Row:
        scored[name] = scorer.score([one["found"] for one in at])
        operations = {counting: _mean([one["operations"] for one in at], counting) for counting in Counts._fields}
        sent = {counting: _mean([one["sent"] for one in at], counting) for counting in Counts._fields}
        updates, analogue = _mean(at, "updates"), _mean(records, "analogue_macs")
        work = works[name] = model.work(t, size, operations[charge], sent[charge], updates, analogue)
        spikes = _mean(at, "spikes")
        return {
            **scored[name].figures,
            "spikes_per_image": spikes,
            "mean_rate": spikes / (activations * t),
            "sops_per_image": operations[model.counting],
            **{f"sops_per_mac_{counting}": value / macs for counting, value in operations.items()},
            "output_error": _mean(at, "error"),
            **{account.energy: account.snn(work, size) for account in energy},
            **neurobench(work, size, sent["messages"]),
        }

    def exit_row(last: Row) -> Row:
        at = [r["exit"] for r in records]
        row = {"mean_T": _mean(at, "t"), **spiking_row("exit", at, _mean(at, "t"))}
        figure, full = scorer.main[0], last["sops_per_image"]
        whole = last[figure]
        row[f"{figure}_kept"] = scored["exit"].figures[figure] / whole if whole else float("nan")
        row["operations_saved"] = 1 - row["sops_per_image"] / full if full else 0.0
        return row

    first = records[0]
    ann = ann_row("ann", [r["ann"] for r in records])
    ann |= {account.energy: account.ann(size) for account in energy}
    steps = [{"T": int(t), **spiking_row(t, [r["steps"][t] for r in records], float(t))} for t in first["steps"]]
    baseline = [
        {"bits": int(b), **ann_row(f"{b} bit", [r["quantised"][b] for r in records])} for b in first["quantised"]
    ]
    return Table(ann, steps, size, baseline, exit_row(steps[-1]) if "exit" in first else None, scored, works)


def _mean(records: Sequence[Mapping[str, Any]], key: str) -> float:
    return float(np.mean([r[key] for r in records]))


def seconds_per_image(records: Sequence[Record]) -> float:
    """Of simulating and reading the predictions, without the ANN and the files."""
    return _mean(records, "seconds")
