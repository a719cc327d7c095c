"""Records of all images -> the rows of a table: figures, spikes, operations and energy at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spiking_yolo.convert.converted import Converted
from spiking_yolo.graph.rewrites import constant_nodes
from spiking_yolo.metrics.energy import Costs, Value, Work, exponentials, spike_value
from spiking_yolo.studies.evaluate.engine import Record
from spiking_yolo.studies.evaluate.scorers import Scored, Scorer

Row = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """What the records do not say about the network, for its energy.

    value: what spikes carry. streams: layers with analogue input compute in every step instead of once.
    exponentials: per neuron and step.
    """

    value: Value = "none"
    streams: bool = False
    exponentials: int = 0

    @classmethod
    def of(cls, converted: Converted) -> Method:
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
        return cls(spike_value(recipe), streams and recipe.encoding.coding == "rate", exponentials(recipe, silu))


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


def table(records: Sequence[Record], scorer: Scorer, method: Method, costs: Costs | None = None) -> Table:
    """Score every column of the records, and average what they cost per image."""
    costs = costs or Costs()
    first, macs = records[0], _mean(records, "macs")
    scored = {"ann": scorer.score([r["ann"] for r in records])}
    ann: Row = {**scored["ann"].figures, "macs": macs, "energy_mJ": costs.ann(macs)}
    works: dict[str, Work] = {}
    steps = []
    for t in first["steps"]:
        at = [r["steps"][t] for r in records]
        scored[t] = scorer.score([one["found"] for one in at])
        works[t] = _work(records, at, float(t), method)
        steps.append({"T": int(t), **_row(scored[t], at, works[t], costs)})
    baseline = []
    for bits in first["quantised"]:
        name = f"{bits} bit"
        scored[name] = scorer.score([r["quantised"][bits] for r in records])
        baseline.append(
            {"bits": int(bits), **scored[name].figures, "macs": macs, "energy_mJ": costs.quantised(macs, int(bits))}
        )
    early = _exit(records, scorer, method, costs, scored, works) if "exit" in first else None
    return Table(ann, steps, baseline, early, scored, works)


def _exit(
    records: Sequence[Record],
    scorer: Scorer,
    method: Method,
    costs: Costs,
    scored: dict[str, Scored],
    works: dict[str, Work],
) -> Row:
    at = [r["exit"] for r in records]
    t, last = float(np.mean([one["t"] for one in at])), str(max(map(int, records[0]["steps"])))
    scored["exit"] = scorer.score([one["found"] for one in at])
    works["exit"] = _work(records, at, t, method)
    row = {"mean_T": t, **_row(scored["exit"], at, works["exit"], costs)}
    full = works[last].operations
    main = scorer.main[0]
    kept = scored["exit"].figures[main] / scored[last].figures[main] if scored[last].figures[main] else float("nan")
    return {**row, f"{main}_kept": kept, "operations_saved": 1 - works["exit"].operations / full if full else 0.0}


def _work(records: Sequence[Record], at: Sequence[dict[str, Any]], t: float, method: Method) -> Work:
    analogue = _mean(records, "analogue_macs") * (t if method.streams else 1)
    operations = float(np.mean([one["operations"] for one in at]))
    return Work(t, operations, analogue, _mean(records, "neurons"), method.value, method.exponentials)


def _row(scored: Scored, at: Sequence[dict[str, Any]], work: Work, costs: Costs) -> Row:
    spikes = float(np.mean([one["spikes"] for one in at]))
    return {
        **scored.figures,
        "spikes_per_image": spikes,
        "mean_rate": spikes / (work.neurons * work.t),
        "sops_per_image": work.operations,
        "output_error": float(np.mean([one["error"] for one in at])),
        "energy_mJ_optimistic": work.optimistic(costs),
        "energy_mJ_conservative": work.conservative(costs),
    }


def _mean(records: Sequence[Record], key: str) -> float:
    return float(np.mean([r[key] for r in records]))


def seconds_per_image(records: Sequence[Record]) -> float:
    """Of simulating and reading the predictions, without the ANN and the files."""
    return _mean(records, "seconds")
