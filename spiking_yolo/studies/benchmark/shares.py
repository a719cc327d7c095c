"""Where the time of a run goes: convolutions, neurons, pooling, other operations of the graph, and bookkeeping."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.convert.converted import Converted
from spiking_yolo.graph import Node
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.studies.benchmark.timing import seconds

KINDS = {"conv": "convolutions", "linear": "convolutions", "max_pool": "pooling", "avg_pool": "pooling"}


class TimedNetwork(SpikingNetwork):
    """A spiking network that adds up the seconds of its parts in `spent`, by kind and by node."""

    def clear(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.by_node: dict[str, float] = defaultdict(float)

    def _fire(self, node: Node, *args: Any) -> Tensor | None:
        return self._timed("neurons", node, super()._fire, *args)

    def _transmit(self, node: Node, *args: Any) -> Tensor | None:
        return self._timed(KINDS.get(node.op, "other operations"), node, super()._transmit, *args)

    def _timed(self, kind: str, node: Node, f: Any, *args: Any) -> Tensor | None:
        taken, value = seconds(lambda: f(node, *args), self._wiring.like.device)
        self.spent[kind] += taken
        self.by_node[node.name] += taken
        return value


def shares(converted: Converted, x: Tensor, T: int, repeats: int) -> dict[str, Any]:
    """Milliseconds per timestep by kind, the means over `repeats` runs after a first one, and the same by node.

    What is left of a run, such as snapshots and the loop itself, is "bookkeeping".
    """
    network = TimedNetwork(converted.graph.to(x.device), converted.sites, converted.recipe)
    whole, steps = 0.0, 1
    for turn in range(repeats + 1):
        if turn < 2:
            whole = 0.0
            network.clear()
        taken, run = seconds(lambda: network.run(x, T), torch.device(x.device))
        whole, steps = whole + taken, run.steps
    per = 1e3 / (max(repeats, 1) * steps)
    kinds = {kind: per * network.spent[kind] for kind in ("convolutions", "neurons", "pooling", "other operations")}
    kinds["bookkeeping"] = per * whole - sum(kinds.values())
    return {"steps": steps, "ms_per_step": kinds, "by_node": {k: per * v for k, v in network.by_node.items()}}
