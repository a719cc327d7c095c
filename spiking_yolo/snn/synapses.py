"""Everything between the layers of neurons: linear maps, max pooling, data movement."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph import OPS, Node
from spiking_yolo.snn import units
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.fast import EventConvolution, Kernels, PackedConvolution
from spiking_yolo.snn.layout import SparseRows, empty, per_channel, rows, to_like
from spiking_yolo.snn.plan import NetworkPlan
from spiking_yolo.snn.pooling import CumulativeMaxPool


class LinearMap(nn.Module):
    """A linear layer or a convolution with the weights of the ANN, applied to spike counts.

    Call `absorb` before the first step.

    Args:
        weight: [out, in] or [out, in / groups, kh, kw].
        bias: [out] or None.
        attrs: Geometry of a convolution.
        kernels: In C; None: nothing is event-driven.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self, weight: Tensor, bias: Tensor | None, attrs: Mapping[str, Any], kernels: Kernels | None
    ):
        super().__init__()
        self.attrs, self._kernels = attrs, kernels
        # The weights times the value of a spike, once that is known.
        self.folded: Tensor | None = None
        self._convolution: PackedConvolution | None = None
        self._events: EventConvolution | None = None
        # Copies: loading other weights must not change the converted network.
        if bias is not None:
            bias = bias.clone()
        self.register_buffer("weight", weight.clone())
        self.register_buffer("bias", bias)

    def absorb(self, unit: units.Unit) -> None:
        """Fold the value of an incoming spike, [C], into the weights; None for analogue input."""
        weight = units.fold(self.weight, unit, self.attrs.get("groups", 1))
        self.folded, self._events = weight, None
        if weight.ndim != 4:
            return
        self._convolution = PackedConvolution(weight, self.bias, self.attrs)
        if self._kernels is not None and EventConvolution.serves(weight, self.attrs):
            self._events = EventConvolution(self._kernels, weight, self.attrs)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self.folded = None
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.folded = None
        super()._load_from_state_dict(*args, **kwargs)

    def forward(self, x: Tensor, biased: bool, complete: bool = False) -> Tensor | None:
        """The map of x, [N, in] or [N, C, H, W], in the dtype of the folded weights.

        Returns None if no event reaches an output and there is no bias. biased: whether the bias
        is added. complete: x holds whole activations, so that no events are counted.
        """
        reached = None
        if self._events is not None and not complete:
            reached = self._events(x)
        if reached is not None:
            if biased and self.bias is not None:
                return self._everywhere(reached, self.bias)
            if not biased and not len(reached.where):
                return None
            return reached.dense()
        if self._convolution is not None:
            return self._convolution(x, biased)
        assert self.folded is not None
        bias: Tensor | None = None
        if biased and self.bias is not None:
            bias = self.bias.to(self.folded)
        return F.linear(x.to(self.folded.dtype), self.folded, bias)

    def _everywhere(self, reached: SparseRows, bias: Tensor) -> Tensor:
        """The map of which some rows are `reached`, with the bias."""
        values = reached.values
        result = empty(reached.shape, values, values.dtype)
        every = rows(result)
        if len(values) == len(every):
            torch.add(values, bias, out=every)
        else:
            every.copy_(bias.expand_as(every)).index_add_(0, reached.where, values)
        return result


class Synapses(nn.Module):
    """All nodes of a graph except its neurons. The weights absorb theta (units.py)."""

    def __init__(self, plan: NetworkPlan, kernels: Kernels | None):
        super().__init__()
        self.plan = plan
        graph = plan.graph
        maps: dict[str, LinearMap] = {}
        pools: dict[str, CumulativeMaxPool] = {}
        for node in graph.nodes:
            if node.weighted:
                weight, bias = graph.tensors[f"{node.name}.weight"], graph.parameters(node)[1]
                maps[node.name] = LinearMap(weight, bias, node.attrs, kernels)
            elif node.op == "max_pool" and node.name not in plan.constant:
                sends_sums = node.name in plan.sums.values()
                by_channel = node.name in plan.sliced
                pools[node.name] = CumulativeMaxPool(node.attrs, sends_sums, by_channel)
        self.maps, self.pools = modules(maps), modules(pools)
        # For dtype and device of potentials and outputs.
        self.like = next(iter(graph.tensors.values()))[:0]
        self._thetas: dict[str, Tensor] = {}
        self._units: dict[str, units.Unit] = {}
        self._shapes: dict[str, list[torch.Size]] = {}

    def absorb(self, thetas: Mapping[str, Tensor]) -> None:
        """Fold theta, [C] of each layer of neurons, into the weights that receive its spikes.

        Does nothing if the thresholds are the same as before.
        """
        maps = {name: linear for name, linear in self.maps.items() if isinstance(linear, LinearMap)}
        due = any(linear.folded is None for linear in maps.values())
        for name, theta in thetas.items():
            due = due or name not in self._thetas or not torch.equal(theta, self._thetas[name])
        if not due:
            return
        self._thetas = {name: theta.clone() for name, theta in thetas.items()}
        self._units = units.propagate(self.plan.graph, self._thetas)
        for name, unit in self._units.items():
            if unit is not None:
                self._units[name] = to_like(unit, self.like)
        for name, linear in maps.items():
            linear.absorb(self._units[self.plan.graph[name].inputs[0]])

    def reset(self, at_most_one: Collection[str] = ()) -> None:
        """Prepare a run, after `absorb`.

        at_most_one: Layers of neurons that send at most one spike per step.
        """
        for name, pool in self._pools():
            pool.reset(self.plan.graph[name].inputs[0] not in at_most_one)
        self._shapes.clear()

    def pooled_counts(self) -> dict[str, Counts]:
        """Events so far of the max poolings that send events, [N, C, H, W]."""
        return {name: pool.counts for name, pool in self._pools() if not pool.sends_sums}

    @property
    def arrived(self) -> dict[str, Tensor]:
        """Whether max poolings that pass on sums had input in the last step, bool []; on an
        accelerator only.
        """
        return {name: pool.arrived for name, pool in self._pools() if pool.arrived is not None}

    def _pools(self) -> Iterator[tuple[str, CumulativeMaxPool]]:
        for name, pool in self.pools.items():
            assert isinstance(pool, CumulativeMaxPool)
            yield name, pool

    def forward(
        self, node: Node, given: Sequence[Tensor | None], spike_weight: float, biased: bool
    ) -> Tensor | None:
        """The output of a node in a timestep; None stands for silence, but never in the first step.

        Args:
            node: The node.
            given: Its inputs, [N, ...] each.
            spike_weight: The value of a spike, in thetas.
            biased: Whether to add biases.
        """
        received = [value for value in given if value is not None]
        if not received:
            return None
        if node.name in self.pools:
            return self.pools[node.name](received[0], spike_weight)
        if node.name in self.maps:
            # In differential coding the first step brings the activations.
            complete = biased and self.plan.differential
            return self.maps[node.name](received[0], biased, complete)
        shapes = self._shapes.setdefault(node.name, [value.shape for value in received])
        whole: list[Tensor] = []
        for name, value, shape in zip(node.inputs, given, shapes, strict=True):
            if value is None:
                value = empty(shape, self.like, self.like.dtype).zero_()
            elif self._units[node.name] is None:
                value = self.analogue(name, value)
            whole.append(value)
        return OPS[node.op](node.attrs, None, None, *whole)

    def analogue(self, name: str, value: Tensor) -> Tensor:
        """The value that node `name` sends, in the units of the ANN."""
        unit = self._units[name]
        if unit is None:
            return value
        return value * per_channel(unit, value)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self.like, self._thetas = fn(self.like), {}
        return super()._apply(fn, recurse)


def modules(named: Mapping[str, nn.Module]) -> nn.ModuleDict:
    """Modules by node name. Raises UserError for a name that a module cannot have."""
    try:
        return nn.ModuleDict(dict(named))
    except KeyError as error:
        raise UserError(
            f"a layer has a name that PyTorch needs itself ({error}): rename it in the network"
        ) from error
