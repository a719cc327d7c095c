"""Where the output of a network is read: the mean over time of what arrives at the linear end of the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from spiking_yolo.graph import Graph, Node
from spiking_yolo.snn.layer import per_channel
from spiking_yolo.snn.wiring import Wiring

Transmit = Callable[[Node, Sequence[Tensor | None], float, bool], Tensor | None]


class Readout:
    """Sums what arrives at the nodes that need not be computed in every step, and computes them where a run is read.

    skip: steps at the start that are not read. differential: the sum is the output, not the mean. corrections: output
    -> bias [C], added to it.
    """

    def __init__(self, graph: Graph, wiring: Wiring, skip: int, differential: bool, corrections: Mapping[str, Tensor]):
        self.graph, self._wiring, self._corrections = graph, wiring, corrections
        self._skip, self._differential = skip, differential
        inputs = {name for node in wiring.readout for name in node.inputs}
        self.sources = {*graph.outputs, *inputs} - {node.name for node in wiring.readout}
        self.reset()

    def reset(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, values: Mapping[str, Tensor | None], t: int) -> None:
        """values: of all sources in step t; None for silence, which the first step has not."""
        for name in self.sources:
            value = values[name]
            if t == 1 and value is not None:
                self._sums[name] = torch.zeros_like(value, dtype=self._wiring.like.dtype)
            if t > self._skip and value is not None:
                self._sums[name].add_(value)

    def outputs(self, t: int, transmit: Transmit, shapes: dict[str, torch.Size]) -> tuple[Tensor, ...]:
        """After t steps, in the units of the ANN; 0 while no step has been read. Shapes of the nodes go to `shapes`."""
        steps = t - self._skip
        divisor = 1 if self._differential else max(steps, 1)
        values: dict[str, Tensor] = {name: total / divisor for name, total in self._sums.items()}
        for node in self._wiring.readout:
            value = transmit(node, [values[name] for name in node.inputs], 1.0, steps > 0)
            assert value is not None
            values[node.name], shapes[node.name] = value, value.shape
        return tuple(self._output(name, values[name]) for name in self.graph.outputs)

    def _output(self, name: str, value: Tensor) -> Tensor:
        value, bias = self._wiring.plain(name, value), self._corrections.get(name)
        return value if bias is None else value + per_channel(bias, value)
