"""Everything between the layers of neurons: linear maps, max pooling, data movement."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.graph import OPS, Node
from spiking_yolo.snn.layout import Unit, channels_last, fold, per_channel, propagate
from spiking_yolo.snn.plan import NetworkPlan
from spiking_yolo.snn.pooling import CumulativeMaxPool


class PackedConvolution:
    """A convolution, channels last.

    On a CPU oneDNN wants the weights in an order of its own; PyTorch makes it in every call, which
    for the deep layers of Tiny-YOLO takes a fifth of the time. Here it is made in the first call.
    The result is the same to the bit. The operators that this needs are those of PyTorch's
    compiler; where they are missing the plain ones serve.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, attrs: Mapping[str, Any]):
        """weight: [out, in / groups, kh, kw]; its dtype and device are those of the computation.
        bias: [out].
        """
        if bias is not None:
            bias = bias.to(weight)
        self.weight, self.bias = channels_last(weight), bias
        self.stride, self.padding = attrs["stride"], attrs["padding"]
        self.dilation, self.groups = attrs["dilation"], attrs["groups"]
        self._packed: Tensor | None = None
        self._pack_next = weight.device.type == "cpu" and weight.dtype == torch.float32

    def __call__(self, x: Tensor, biased: bool) -> Tensor:
        """x: [N, C, H, W]. biased: whether the bias is added. Returns the dtype of the weights."""
        x, bias = channels_last(x.to(self.weight.dtype)), None
        if biased:
            bias = self.bias
        if self._pack_next:
            self._pack(x)
        if self._packed is None:
            return F.conv2d(
                x, self.weight, bias, self.stride, self.padding, self.dilation, self.groups
            )
        return self._convolve(x, self._packed, bias)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        sizes = self.padding, self.stride, self.dilation, self.groups
        return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *sizes, "none", [], "")

    def _pack(self, x: Tensor) -> None:
        self._pack_next = False
        if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
            return
        sizes = self.padding, self.stride, self.dilation, self.groups
        try:
            packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, *sizes, list(x.shape)
            )
            self._convolve(x, packed, None)
        except (AttributeError, RuntimeError, TypeError):
            return
        self._packed = packed


class LinearMap:
    """A linear layer or a convolution, applied to spike counts.

    Args:
        weight: [out, in] or [out, in / groups, kh, kw], times the value of an incoming spike.
        bias: [out] or None.
        attrs: Geometry of a convolution.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, attrs: Mapping[str, Any]):
        self.weight, self.bias = weight, bias
        self._convolution: PackedConvolution | None = None
        if weight.ndim == 4:
            self._convolution = PackedConvolution(weight, bias, attrs)

    def __call__(self, x: Tensor, biased: bool) -> Tensor:
        """The map of x, [N, in] or [N, C, H, W], in the dtype of the weights.

        biased: whether the bias is added.
        """
        if self._convolution is not None:
            return self._convolution(x, biased)
        bias = self.bias if biased else None
        return F.linear(x.to(self.weight.dtype), self.weight, bias)


class Synapses:
    """All nodes of a graph except its neurons. The weights absorb theta (layout.py).

    Args:
        plan: Of the network.
        thetas: Of each layer of neurons, [C].
    """

    def __init__(self, plan: NetworkPlan, thetas: Mapping[str, Tensor]):
        self.plan = plan
        graph = plan.graph
        # For dtype and device of potentials and outputs.
        self.like = next(iter(graph.tensors.values()))[:0]
        self._units: dict[str, Unit] = {}
        for name, unit in propagate(graph, thetas).items():
            self._units[name] = unit
            if unit is not None:
                self._units[name] = unit.to(self.like)
        self.maps: dict[str, LinearMap] = {}
        self.pools: dict[str, CumulativeMaxPool] = {}
        for node in graph.nodes:
            if node.weighted:
                unit, groups = self._units[node.inputs[0]], node.attrs.get("groups", 1)
                weight = fold(graph.tensors[f"{node.name}.weight"], unit, groups)
                bias = graph.parameters(node)[1]
                self.maps[node.name] = LinearMap(weight, bias, node.attrs)
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
            return self.maps[node.name](given[0], biased)
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
