"""Everything between the layers of neurons: linear maps, max pooling, data movement."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.graph import OPS, Node
from spiking_yolo.snn import units
from spiking_yolo.snn.fast import EventConvolution, Kernels, PackedConvolution
from spiking_yolo.snn.layout import per_channel
from spiking_yolo.snn.plan import NetworkPlan
from spiking_yolo.snn.pooling import CumulativeMaxPool


class LinearMap:
    """A linear layer or a convolution, applied to spike counts.

    Args:
        weight: [out, in] or [out, in / groups, kh, kw], times the value of an incoming spike.
        bias: [out] or None.
        attrs: Geometry of a convolution.
        kernels: In C; None: nothing is event-driven.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, attrs: Mapping[str, Any], kernels: Kernels | None
    ):
        self.weight, self.bias = weight, bias
        self._convolution: PackedConvolution | None = None
        self._events: EventConvolution | None = None
        if weight.ndim == 4:
            self._convolution = PackedConvolution(weight, bias, attrs)
            if kernels is not None and EventConvolution.serves(weight, attrs):
                self._events = EventConvolution(kernels, weight, attrs)

    def __call__(self, x: Tensor, biased: bool, complete: bool = False) -> Tensor:
        """The map of x, [N, in] or [N, C, H, W], in the dtype of the weights.

        biased: whether the bias is added. complete: x holds whole activations, so that no events
        are counted.
        """
        if self._events is not None and not complete:
            reached = self._events(x)
            if reached is not None and biased and self.bias is not None:
                return reached.dense().add_(self.bias[:, None, None])
            if reached is not None:
                return reached.dense()
        if self._convolution is not None:
            return self._convolution(x, biased)
        bias = self.bias if biased else None
        return F.linear(x.to(self.weight.dtype), self.weight, bias)


class Synapses:
    """All nodes of a graph except its neurons. The weights absorb theta (units.py).

    Args:
        plan: Of the network.
        thetas: Of each layer of neurons, [C].
        kernels: See LinearMap.
    """

    def __init__(self, plan: NetworkPlan, thetas: Mapping[str, Tensor], kernels: Kernels | None):
        self.plan = plan
        graph = plan.graph
        # For dtype and device of potentials and outputs.
        self.like = next(iter(graph.tensors.values()))[:0]
        self._units: dict[str, units.Unit] = {}
        for name, unit in units.propagate(graph, thetas).items():
            self._units[name] = unit
            if unit is not None:
                self._units[name] = unit.to(self.like)
        self.maps: dict[str, LinearMap] = {}
        self.pools: dict[str, CumulativeMaxPool] = {}
        for node in graph.nodes:
            if node.weighted:
                unit, groups = self._units[node.inputs[0]], node.attrs.get("groups", 1)
                weight = units.fold(graph.tensors[f"{node.name}.weight"], unit, groups)
                bias = graph.parameters(node)[1]
                self.maps[node.name] = LinearMap(weight, bias, node.attrs, kernels)
            elif node.op == "max_pool" and node.name not in plan.constant:
                sends_sums = node.name in plan.sums.values()
                by_channel = node.name in plan.sliced
                self.pools[node.name] = CumulativeMaxPool(node.attrs, sends_sums, by_channel)

    def reset(self, at_most_one: Collection[str] = ()) -> None:
        """Prepare a run. at_most_one: Layers of neurons that send at most one spike per step."""
        for name, pool in self.pools.items():
            pool.reset(self.plan.graph[name].inputs[0] not in at_most_one)

    def __call__(
        self, node: Node, given: Sequence[Tensor], spike_weight: float, biased: bool
    ) -> Tensor:
        """The output of a node in a timestep.

        Args:
            node: The node.
            given: Its inputs, [N, ...] each.
            spike_weight: The value of a spike, in thetas.
            biased: Whether to add biases.
        """
        if node.name in self.pools:
            return self.pools[node.name](given[0], spike_weight)
        if node.name in self.maps:
            # In differential coding the first step brings the activations.
            complete = biased and self.plan.differential
            return self.maps[node.name](given[0], biased, complete)
        if self._units[node.name] is None:
            named = zip(node.inputs, given, strict=True)
            given = [self.analogue(name, value) for name, value in named]
        return OPS[node.op](node.attrs, None, None, *given)

    def analogue(self, name: str, value: Tensor) -> Tensor:
        """The value that node `name` sends, in the units of the ANN."""
        unit = self._units[name]
        if unit is None:
            return value
        return value * per_channel(unit, value)
