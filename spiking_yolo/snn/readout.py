"""Where the output of a network is read: the mean over time of what arrives at the linear end of the graph."""

from collections.abc import Mapping

import torch
from torch import Tensor

from spiking_yolo.snn.backend.active import Active, dense
from spiking_yolo.snn.backend.layout import beside, per_channel
from spiking_yolo.snn.plan import NetworkPlan, readout_sources
from spiking_yolo.snn.synapses import Synapses


class OutputSum:
    """Sums what arrives at the nodes that need not be computed in every step, and computes them where a run is read.

    skip: steps at the start that are not read. corrections: output -> bias [C], added to it.
    """

    def __init__(self, plan: NetworkPlan, synapses: Synapses, skip: int, corrections: Mapping[str, Tensor]):
        self._plan, self._synapses, self._skip, self._given = plan, synapses, skip, corrections
        self._sources = readout_sources(plan.graph, plan.readout)
        self.reset()

    def reset(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._corrections = {name: beside(bias, self._synapses.like) for name, bias in self._given.items()}
        self._outputs: tuple[Tensor, ...] | None = None  # as they were read last, while nothing has arrived since
        self._share = 1.0  # of the corrections, when they were read last

    def add(self, values: Mapping[str, Tensor | Active | None], t: int) -> None:
        """values: of all nodes in step t; None for silence, but never in the first step."""
        for name in self._sources:
            value = values[name]
            if t == 1 and isinstance(value, Tensor):
                self._sums[name] = torch.zeros_like(value, dtype=self._synapses.like.dtype)
            if t > self._skip and value is not None:
                self._outputs = None
                self._sums[name].add_(dense(value))

    def read(self, t: int, shapes: dict[str, torch.Size], share: float = 1.0) -> tuple[Tensor, ...]:
        """After t steps, in the units of the ANN; 0 while no step has been read.

        Shapes of the nodes go to `shapes`. share: of the corrections that is added.
        """
        if self._outputs is not None and self._plan.coding.once and share == self._share:
            return self._outputs
        self._share = share
        steps = t - self._skip
        divisor = max(self._plan.coding.activations(steps), 1)
        values: dict[str, Tensor] = {name: total / divisor for name, total in self._sums.items()}
        for node in self._plan.readout:
            value = self._synapses(node, [values[name] for name in node.inputs], 1.0, True)
            assert isinstance(value, Tensor)  # with biases nothing is left out
            values[node.name], shapes[node.name] = value if steps > 0 else torch.zeros_like(value), value.shape
        self._outputs = tuple(self._output(name, values[name]) for name in self._plan.graph.outputs)
        return self._outputs

    def _output(self, name: str, value: Tensor) -> Tensor:
        value, bias = self._synapses.analogue(name, value), self._corrections.get(name)
        return value if bias is None else value + self._share * per_channel(bias, value)
