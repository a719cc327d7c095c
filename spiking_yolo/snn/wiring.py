"""What lies between the layers of neurons: linear maps, pooling, and operations that only move values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from spiking_yolo.graph import OPS, Graph, Node
from spiking_yolo.graph.rewrites import readout_nodes
from spiking_yolo.snn import units
from spiking_yolo.snn.blocks import empty
from spiking_yolo.snn.layer import per_channel
from spiking_yolo.snn.options import SimulationOptions
from spiking_yolo.snn.pooling import CumulativeMaxPool
from spiking_yolo.snn.synapses import Convolution, Linear


class Wiring:
    """Every node of a graph but its neurons. Spikes travel as counts, whose value the weights absorb (units.py).

    site_units: value of a spike, [C] per activation node. constant: nodes whose value is the same in every step, where
    max pooling keeps no sum. readout: nodes that receive means over time, in the dtype of the graph.
    """

    def __init__(
        self, graph: Graph, site_units: Mapping[str, Tensor], constant: set[str], simulation: SimulationOptions
    ):
        self.graph = graph
        self.like = next(iter(graph.tensors.values()))  # for dtype and device of potentials and outputs
        self.readout = readout_nodes(graph)
        self._units = units.propagate(graph, site_units)
        self._synapses = {n.name: self._synapse(n, simulation) for n in graph.nodes if n.op in ("conv", "linear")}
        self.pools = {
            n.name: CumulativeMaxPool(n.attrs) for n in graph.nodes if n.op == "max_pool" and n.name not in constant
        }
        self._shapes: dict[str, list[torch.Size]] = {}

    def _synapse(self, node: Node, simulation: SimulationOptions) -> Convolution | Linear:
        weight, bias = self.graph.parameters(node)
        assert weight is not None
        unit = self._units[node.inputs[0]]
        if unit is not None:
            dtype = weight.dtype if node in self.readout else simulation.synapses(weight.dtype)
            weight = units.fold(weight, unit, node.attrs.get("groups", 1)).to(dtype)
        return Linear(weight, bias) if node.op == "linear" else Convolution(weight, bias, node.attrs)

    def reset(self, summed: Collection[str] = ()) -> None:
        """summed: poolings that hand on sums."""
        for name, pool in self.pools.items():
            pool.reset(name in summed)
        self._shapes.clear()

    def transmit(self, node: Node, given: Sequence[Tensor | None], spike_weight: float, biased: bool) -> Tensor | None:
        """What a node passes on in a timestep; None stands for silence, all zero, which the first step has not.

        given: one per input, [N, ...]. spike_weight: value of an event. biased: whether biases are added.
        """
        received = [value for value in given if value is not None]
        if not received:
            return None
        if node.name in self.pools:
            return self.pools[node.name].step(received[0], spike_weight)
        if node.name in self._synapses:
            return self._synapses[node.name](received[0], biased)
        if len(given) > 1:
            shapes = self._shapes.setdefault(node.name, [value.shape for value in received])
            received = [
                empty(shape, self.like, self.like.dtype).zero_() if value is None else value
                for value, shape in zip(given, shapes, strict=True)
            ]
        if self._units[node.name] is None:
            received = [self.plain(name, value) for name, value in zip(node.inputs, received, strict=True)]
        return OPS[node.op](node.attrs, None, None, *received)

    def plain(self, name: str, value: Tensor) -> Tensor:
        """What node `name` sends, in the units of the ANN."""
        unit = self._units[name]
        if unit is None:
            return value
        value = value.to(self.like.dtype)  # of spikes that are sent in bf16
        return value * per_channel(unit, value)
