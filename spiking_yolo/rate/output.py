"""The output of a simulation, accumulated over its steps."""

from collections.abc import Mapping

import torch
from torch import Tensor

from spiking_yolo.rate.synapses import Synapses
from spiking_yolo.spikes.layout import per_channel
from spiking_yolo.spikes.plan import NetworkPlan


class OutputSum:
    """Accumulates the input of the linear end of the graph, which is computed only when read.

    Args:
        plan: Which nodes are that linear end.
        synapses: Computes them.
        skip: Number of steps at the start that are left out.
        corrections: Output -> bias [C] that is added to it.
    """

    def __init__(
        self, plan: NetworkPlan, synapses: Synapses, skip: int, corrections: Mapping[str, Tensor]
    ):
        self._plan = plan
        self._synapses = synapses
        self._skip = skip
        self._corrections = corrections
        # The nodes that the output is read from: before the linear end, and outputs outside of it.
        self._sources = set(plan.graph.outputs)
        for node in plan.readout:
            self._sources.update(node.inputs)
        self._sources -= {node.name for node in plan.readout}
        self.reset()

    def reset(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, values: Mapping[str, Tensor], t: int) -> None:
        """Accumulate step t. values: of all nodes."""
        for name in self._sources:
            value = values[name].to(self._synapses.like.dtype)
            if t <= self._skip:
                value = torch.zeros_like(value)
            if t == 1:
                self._sums[name] = value.clone()
            else:
                self._sums[name].add_(value)

    def read(self, t: int, shapes: dict[str, torch.Size]) -> tuple[Tensor, ...]:
        """The outputs after t steps, in the units of the ANN; 0 while no step counts.

        Args:
            t: Steps so far.
            shapes: Receives the shapes of the nodes that are computed here.
        """
        steps = t - self._skip
        # How often the sum of these steps contains the activations.
        divisor = 1 if self._plan.differential else max(steps, 1)
        values: dict[str, Tensor] = {name: total / divisor for name, total in self._sums.items()}
        for node in self._plan.readout:
            value = self._synapses(node, [values[name] for name in node.inputs], 1.0, True)
            shapes[node.name] = value.shape
            if steps <= 0:
                value = torch.zeros_like(value)
            values[node.name] = value
        outputs: list[Tensor] = []
        for name in self._plan.graph.outputs:
            value = self._synapses.analogue(name, values[name])
            if name in self._corrections:
                value = value + per_channel(self._corrections[name], value)
            outputs.append(value)
        return tuple(outputs)
