"""Records of all images -> the rows of a table: figures, spikes, operations and energy at every step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spiking_yolo.convert.converted import Converted
from spiking_yolo.graph.rewrites import constant_nodes
from spiking_yolo.metrics.energy import EnergyCosts, Value, Work, exponentials, spike_value
from spiking_yolo.snn.counting import Counting, Counts
from spiking_yolo.studies.evaluate.record_log import Record
from spiking_yolo.studies.evaluate.scorers import Scored, Scorer

Row = dict[str, Any]


@dataclass(frozen=True)
class CostModel:
    """What the records do not say about a network, for its energy.

    value: what spikes carry. streams: layers with analogue input compute in every step instead of once.
    exponentials: per neuron and step. counting: in which the recipe's operations are counted.
    """

    counting: Counting = "spikes"
    value: Value = "none"
    streams: bool = False
    exponentials: int = 0

    @classmethod
    def of(cls, converted: Converted) -> "CostModel":
        graph = converted.graph
        constant = constant_nodes(graph)
        spiking: set[str] = set()
        streams = False
        for node in graph.nodes:
            if node.op in ("conv", "linear"):
                streams = streams or (node.name not in constant and node.inputs[0] not in spiking)
            elif node.op == "activation" or (node.inputs and spiking.issuperset(node.inputs)):
                spiking.add(node.name)
        recipe = converted.recipe
        silu = any(node.phi.silu for node in graph.activations)
        streams = streams and recipe.encoding.coding == "rate"
        return cls(recipe.counting, spike_value(recipe), streams, exponentials(recipe, silu))


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of one network on one dataset, and the scores that they come from.

    ann: {"macs", "energy_mJ", figures}. steps: one row per timestep. baseline: the quantised ANN. exit: early exit.
    scored: by row: "ann", "4", "8", ..., "8 bit", "exit".
    """

    ann: Row
    steps: list[Row]
    baseline: list[Row] = field(default_factory=list)
    exit: Row | None = None
    scored: dict[str, Scored] = field(default_factory=dict)
    works: dict[str, Work] = field(default_factory=dict)


def table(
    records: Sequence[Record],
    scorer: Scorer,
    model: CostModel,
    energy: EnergyCosts = EnergyCosts(),  # noqa: B008
) -> Table:
    """Score every column of the records, and average what they cost per image."""
    macs, neurons, activations = (_mean(records, key) for key in ("macs", "neurons", "activations"))
    scored: dict[str, Scored] = {}
    works: dict[str, Work] = {}

    def ann_row(name: str, predictions: list[Any], mj: float) -> Row:
        scored[name] = scorer.score(predictions)
        return {**scored[name].figures, "macs": macs, "energy_mJ": mj}

    def spiking_row(name: str, at: Sequence[dict[str, Any]], t: float) -> Row:
        scored[name] = scorer.score([one["found"] for one in at])
        analogue = _mean(records, "analogue_macs") * (t if model.streams else 1)
        operations = {counting: _mean([one["operations"] for one in at], counting) for counting in Counts._fields}
        done = operations[model.counting]
        work = works[name] = Work(t, done, analogue, neurons, model.value, model.exponentials)
        spikes = _mean(at, "spikes")
        return {
            **scored[name].figures,
            "spikes_per_image": spikes,
            "mean_rate": spikes / (activations * t),
            "sops_per_image": done,
            **{f"sops_per_mac_{counting}": value / macs for counting, value in operations.items()},
            "output_error": _mean(at, "error"),
            "energy_mJ_optimistic": work.optimistic(energy),
            "energy_mJ_conservative": work.conservative(energy),
        }

    def exit_row(last: str) -> Row:
        at = [r["exit"] for r in records]
        row = {"mean_T": _mean(at, "t"), **spiking_row("exit", at, _mean(at, "t"))}
        figure, full = scorer.main[0], works[last].operations
        whole = scored[last].figures[figure]
        row[f"{figure}_kept"] = scored["exit"].figures[figure] / whole if whole else float("nan")
        row["operations_saved"] = 1 - works["exit"].operations / full if full else 0.0
        return row

    first = records[0]
    ann = ann_row("ann", [r["ann"] for r in records], energy.ann(macs))
    steps = [{"T": int(t), **spiking_row(t, [r["steps"][t] for r in records], float(t))} for t in first["steps"]]
    baseline = [
        {"bits": int(b), **ann_row(f"{b} bit", [r["quantised"][b] for r in records], energy.quantised(macs, int(b)))}
        for b in first["quantised"]
    ]
    return Table(
        ann, steps, baseline, exit_row(max(first["steps"], key=int)) if "exit" in first else None, scored, works
    )


def _mean(records: Sequence[Mapping[str, Any]], key: str) -> float:
    return float(np.mean([r[key] for r in records]))


def seconds_per_image(records: Sequence[Record]) -> float:
    """Of simulating and reading the predictions, without the ANN and the files."""
    return _mean(records, "seconds")
