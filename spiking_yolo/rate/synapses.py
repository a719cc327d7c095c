"""The nodes between the layers of neurons: linear maps, max pooling, data movement.

Max pooling is of running sums of currents or spikes, exact for any geometry and signed input.
"""

from collections.abc import Collection, Mapping, Sequence
from ctypes import byref
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.graph import OPS, Node, max_pool
from spiking_yolo.rate.convolution import EventConvolution
from spiking_yolo.rate.library import Pooling, library, rows
from spiking_yolo.spikes import layout
from spiking_yolo.spikes.counting import Tally
from spiking_yolo.spikes.plan import NetworkPlan

# The rounding error of a difference of two sums, in spikes.
_ROUNDING = 1e-3


class CumulativeMaxPool:
    """Sends the change of the maximum of the input's running sum over each window.

    The sum of what is sent is then the pooled sum. (Pooling the spikes of single steps would count
    every spike of a window, and get *worse* with T.) What is sent can be negative, more than one
    spike or, behind graded spikes, a fraction of one. It is counted as the number of spikes that
    its value takes; a fraction of a spike is one event.

    Args:
        attrs: Geometry, see graph.max_pool.
        sends_sums: Pass on the pooled sum itself in every step, to neurons that work on sums;
            nothing is counted.
        by_channel: See LayerPlan.
    """

    sent: Tensor
    # Whether there was input in the last step, for each image: sums do not show it.
    arrived: Tensor

    def __init__(self, attrs: Any, sends_sums: bool = False, by_channel: bool = False):
        self.attrs = attrs
        self.sends_sums = sends_sums
        self.by_channel = by_channel
        self.reset()

    def reset(self, bursts: bool = True) -> None:
        """Start a new run, of any shape, with the next step.

        bursts: Whether the input of a step can be worth more than one spike.
        """
        self._fresh = True
        self._bursts = bursts
        self._in_c: Pooling | None = None

    def __call__(self, current: Tensor, spike_weight: float = 1.0) -> Tensor:
        """One timestep.

        Args:
            current: The input, [N, C, H, W].
            spike_weight: The value of one spike, in which the output is counted.

        Returns:
            The output, [N, C, H', W'].
        """
        first, self._fresh = self._fresh, False
        if not first and self._in_c is not None:
            return self._in_one_pass(self._in_c, current, spike_weight)
        if first:
            self._total = layout.channels_last(current).clone()
        else:
            self._total.add_(current)
        pooled = max_pool(self._total, **self.attrs)
        if self.sends_sums:
            self.arrived = layout.any_in_images(current)
            return pooled
        if first:
            self.sent = torch.zeros_like(pooled)
            self.tally = Tally(pooled, self._bursts, self.by_channel)
            self._in_c = self._known_to_c(pooled)
        # The memory of the old `sent` is used again.
        out = torch.sub(pooled, self.sent, out=self.sent)
        self.sent = pooled
        events = (out != 0).to(out.dtype)
        if self._bursts:
            # A fraction of a spike is an event, too.
            spikes = (out.abs() / spike_weight).sub_(_ROUNDING).ceil_()
            events = torch.maximum(events, spikes)
        self.tally.add(events)
        if first and self._in_c is not None:
            self._out, self._in_c.out, self._in_c.sent = out, out.data_ptr(), pooled.data_ptr()
        return out

    def _known_to_c(self, pooled: Tensor) -> Pooling | None:
        """What C takes of this pooling; None where PyTorch computes it."""
        on_cpu = pooled.dtype == torch.float32 and pooled.device.type == "cpu"
        last = pooled.is_contiguous(memory_format=torch.channels_last)
        if not (on_cpu and last and library()) or (self._bursts and self.by_channel):
            return None
        images, channels, h, w = self._total.shape
        left, _, top, _ = self.attrs["padding"]
        geometry = *pooled.shape[2:], *self.attrs["kernel"], *self.attrs["stride"], top, left
        pooling = Pooling(images, h, w, channels, *geometry, 1, self._bursts)
        pooling.total, pooling.totals = self._total.data_ptr(), self.tally.count.data_ptr()
        pooling.events = None if self.tally.events is None else self.tally.events.data_ptr()
        pooling.rounding = _ROUNDING
        return pooling

    def _in_one_pass(self, pooling: Pooling, current: Tensor, spike_weight: float) -> Tensor:
        """A timestep after the first, in C."""
        given = rows(current.float())
        pooling.x, pooling.weight = given.data_ptr(), spike_weight
        pooling.threads = torch.get_num_threads()
        if not library().pool_all(byref(pooling)):
            raise MemoryError("for a row of max pooling")
        return self._out


class Synapses:
    """All nodes of a graph except its neurons. The weights absorb theta (layout.py).

    Args:
        plan: The plan of the network.
        thetas: Layer of neurons -> its theta, [C].
    """

    def __init__(self, plan: NetworkPlan, thetas: Mapping[str, Tensor]):
        self.plan = plan
        graph = plan.graph
        # An empty tensor, which has the dtype and device of potentials and outputs.
        self.like = next(iter(graph.tensors.values()))[:0]
        self._units: dict[str, layout.SpikeUnit] = {}
        for name, unit in layout.propagate(graph, thetas).items():
            self._units[name] = unit
            if unit is not None:
                self._units[name] = unit.to(self.like)
        # Weight and bias of each layer.
        self._weights: dict[str, tuple[Tensor, Tensor | None]] = {}
        # Those that are computed by events where few arrive.
        self._by_events: dict[str, EventConvolution] = {}
        self.pools: dict[str, CumulativeMaxPool] = {}
        for node in graph.nodes:
            if node.weighted:
                unit, groups = self._units[node.inputs[0]], node.attrs.get("groups", 1)
                weight = layout.fold(graph.tensors[f"{node.name}.weight"], unit, groups)
                bias = graph.parameters(node)[1]
                self._weights[node.name] = layout.channels_last(weight), bias
                if node not in plan.readout and EventConvolution.takes(node, weight):
                    self._by_events[node.name] = EventConvolution(node, weight, bias)
            elif node.op == "max_pool" and node.name not in plan.constant:
                sends_sums = node.name in plan.sums.values()
                by_channel = node.name in plan.sliced
                self.pools[node.name] = CumulativeMaxPool(node.attrs, sends_sums, by_channel)

    def reset(self, at_most_one: Collection[str] = ()) -> None:
        """Prepare a run. at_most_one: Layers of neurons that send at most one spike per step."""
        for name, pool in self.pools.items():
            pool.reset(self.plan.graph[name].inputs[0] not in at_most_one)

    def __call__(self, node: Node, given: Sequence[Tensor], weight: float, biased: bool) -> Tensor:
        """The output of a node in a timestep.

        Args:
            node: The node.
            given: Its inputs, [N, ...] each.
            weight: The value of a spike, in thetas.
            biased: Whether to add biases.
        """
        if node.name in self.pools:
            return self.pools[node.name](given[0], weight)
        if node.weighted:
            own, bias = self._weights[node.name]
            x = layout.channels_last(given[0].to(own.dtype))
            if node.name in self._by_events:
                out = self._by_events[node.name](x, biased)
                if out is not None:
                    return out
            return OPS[node.op](node.attrs, own, bias if biased else None, x)
        if self._units[node.name] is None:
            named = zip(node.inputs, given, strict=True)
            given = [self.analogue(name, value) for name, value in named]
        return OPS[node.op](node.attrs, None, None, *given)

    def analogue(self, name: str, value: Tensor) -> Tensor:
        """The value that node `name` sends, in the units of the ANN."""
        unit = self._units[name]
        if unit is None:
            return value
        return value * layout.per_channel(unit, value)
