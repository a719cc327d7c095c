"""A network that sends complete values in one step, as a function with gradients.

Each activation is rounded to a whole number of thetas, as SigmaDelta rounds it, and an event
costs the synaptic operations that it causes. Rounding passes gradients on as if it were not there
(the straight-through estimator of Bengio et al. 2013; for theta as in LSQ, Esser et al. 2020), and
the number of digits as if it were a smooth function.
"""

import math
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.convert.weight_bits import STORED_BITS, rounded_weights
from spiking_yolo.graph import OPS, Activation, Graph, shapes
from spiking_yolo.graph.rewrites import distribute_sums, pool_before_neuron
from spiking_yolo.integer.neuron import send
from spiking_yolo.integer.parameters import tied
from spiking_yolo.io.names import Size
from spiking_yolo.snn import operations
from spiking_yolo.snn.counting import count_digits
from spiking_yolo.snn.layout import channels_last, per_channel

# Node -> theta, initial, bias, rest of its neurons.
Values = Mapping[str, Mapping[str, Tensor]]
# Node that sends events -> what it has sent so far, in thetas.
Sent = dict[str, Tensor]


class CompleteNetwork:
    """The spiking network as a function of the parameters of its neurons.

    Args:
        graph: The ANN.
        imgsz: Size of the input.
        slack: As in the recipe.
        least: The smallest theta of each activation, [C].
        hysteresis: As in the recipe, in later frames of a video.

    Attributes:
        graph: As it is simulated, with max pooling before the neurons.
        sites: Activation -> number of channels.
        macs: Multiply-accumulates of the ANN.
        costs: Node that sends events -> synaptic operations that an event of each of its neurons
            causes, per MAC, [1, C, ...].
    """

    def __init__(
        self,
        graph: Graph,
        imgsz: Size,
        slack: float = 0.0,
        least: Mapping[str, Tensor] | None = None,
        hysteresis: float = 0.0,
    ):
        self.graph = pool_before_neuron(graph)
        self.tensors = self.graph.tensors
        self.slack = slack
        self.hysteresis = hysteresis
        self.least = least or {}
        sizes = shapes(self.graph, *imgsz)
        self.sites = {node.name: sizes[node.name][1] for node in self.graph.activations}
        # Max pooling that reads neurons, and sends events of its own -> the activation.
        self._pools: dict[str, str] = {}
        for node in self.graph.nodes:
            if node.op == "max_pool" and node.inputs[0] in self.sites:
                self._pools[node.name] = node.inputs[0]
        senders = [*self.sites, *self._pools]
        self.macs = operations.total_macs(self.graph, sizes, senders)[0]
        costs = operations.costs_of_events(self.graph, sizes, senders)
        self.costs = {name: _equal_channels(cost / self.macs) for name, cost in costs.items()}

    def senders(self, site: str) -> list[str]:
        """The nodes that send what an activation fires: itself, and the poolings behind it."""
        return [site, *(pool for pool, source in self._pools.items() if source == site)]

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "CompleteNetwork":
        """The same network with other weights. tensors: All of the graph."""
        other = copy(self)
        other.tensors = tensors
        return other

    def _rounded(self, values: Values) -> Graph:
        """The network as it is computed, with weights of 8 bits; rounding passes gradients on."""
        graph = distribute_sums(replace(self.graph, tensors=self.tensors))
        thetas = {name: values[name]["theta"].detach() for name in self.sites}
        tensors = dict(graph.tensors)
        with torch.no_grad():
            rounded = rounded_weights(graph, tensors, STORED_BITS, thetas)
        for node in graph.weighted:
            name = f"{node.name}.weight"
            tensors[name] = straight_through(rounded[name], tensors[name])
        return replace(graph, tensors=tensors)

    def __call__(
        self, x: Tensor, values: Values, sent: Sent | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """The outputs for images [N, C, H, W], and the operations per MAC of each, [N].

        Under autocast the layers with weights are computed in bfloat16, and neurons as x is.

        Args:
            x: The images, or frames of N videos.
            values: The parameters of the neurons.
            sent: What was sent in the frames before, and with this one afterwards; empty before the
                first. None for images.
        """
        before = dict(sent or {})
        results: dict[str, Tensor] = {}
        spent = x.new_zeros(len(x))
        values = tied(self.graph, values)
        graph = self._rounded(values)
        for node in graph.nodes:
            name = node.name
            inputs = [results[source] for source in node.inputs]
            if node.op == "input":
                inputs = [channels_last(x)]
            if node.op == "activation":
                own, z = values[name], inputs[0].to(x.dtype)
                value, cost = fire(
                    z,
                    own,
                    node.phi,
                    self.costs[name],
                    self.slack,
                    before.get(name),
                    self.hysteresis,
                )
                spent = spent + cost
                if sent is not None:
                    sent[name] = in_thetas(value.detach(), own).round()
            else:
                value = OPS[node.op](node.attrs, *graph.parameters(node), *inputs)
            if name in self._pools:
                n = in_thetas(value, values[self._pools[name]])
                if sent is not None:
                    sent[name] = n.detach().round()
                spent = spent + self._pooled(name, n - before.get(name, 0))
            results[name] = value
        outputs = []
        for name in self.graph.outputs:
            output = results[name].to(x.dtype)
            bias = values.get(name, {}).get("bias")
            # Of neurons it is part of the current.
            if bias is not None and name not in self.sites:
                output = output + per_channel(bias, output)
            outputs.append(output)
        return outputs, spent

    def _pooled(self, name: str, n: Tensor) -> Tensor:
        """Operations per MAC of n thetas that a max pooling sends of the neurons before it, [N]."""
        digits = straight_through(count_digits(n.detach().round()), smooth_digits(n))
        return (digits * self.costs[name]).flatten(1).sum(1)


class VideoNetwork(CompleteNetwork):
    """The same for clips [N, K, C, H, W]: outputs and operations of their last frames.

    The frames before have no gradients.
    """

    def __call__(
        self, x: Tensor, values: Values, sent: Sent | None = None
    ) -> tuple[list[Tensor], Tensor]:
        if sent is None:
            sent = {}
        with torch.no_grad():
            for frame in x[:, :-1].unbind(1):
                super().__call__(frame, values, sent)
        return super().__call__(x[:, -1], values, sent)


def in_thetas(value: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """How many thetas make up a value, beyond the resting value. [N, C, ...]."""
    n = value / per_channel(parameters["theta"], value)
    if "rest" in parameters:
        n = n - per_channel(parameters["rest"], value)
    return n


def _equal_channels(costs: Tensor) -> Tensor:
    """[1, C, ...] costs as [1, 1, ...] where all channels have the same."""
    if (costs == costs[:, :1]).all():
        return costs[:, :1]
    return costs


def fire(
    z: Tensor,
    parameters: Mapping[str, Tensor],
    phi: Activation,
    cost: Tensor,
    slack: float,
    before: Tensor | None = None,
    hysteresis: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """What a layer of neurons has sent: its values, and the operations per MAC, [N].

    value = (n + rest) * theta, with n = round(phi(z + bias) / theta + initial - 1/2 - rest) the
    number of thetas that are sent, at costs of digits(n). In a later frame m thetas are sent
    already: due = phi(z + bias) / theta + initial - 1/2 - rest - m, and n = m + round(due) where
    |due| >= 1/2 + hysteresis, at costs of digits(n - m).

    Args:
        z: Pre-activations, [N, C, ...].
        parameters: theta, initial, and where they are trained bias and rest: [C] each.
        cost: Operations per MAC of an event, [1, C or 1, ...].
        slack, hysteresis: As in the recipe.
        before: m, [N, C, ...]; None in the first frame, which has no hysteresis.
    """
    channels = z.shape[1]
    nothing = z.new_zeros(channels)
    if phi.softmax:
        # Its axis would be cut by blocks.
        z = phi(z)
        phi = Activation(slope=1.0)
    each: list[Tensor] = []
    for key in ("theta", "initial", "bias", "rest"):
        each.append(parameters.get(key, nothing).expand(channels))
    if before is None:
        before, hysteresis = z.new_zeros(()).expand_as(z), 0.0
    how = phi.continuous, _rows(cost)[0], slack, _rows(before), hysteresis
    value, spent = _Fire.apply(_rows(z), *each, *how)  # type: ignore[misc]
    maps = value.reshape(len(z), *z.shape[2:], channels).movedim(-1, 1)
    return maps, spent


# Values that are computed at once: all that is needed of them stays in a processor's cache.
BLOCK = 1 << 17


class _Fire(torch.autograd.Function):
    """`fire` on [N, positions, C], block by block, so that no step but the result goes to memory.

    The backward pass computes what is due again. With due = phi(z + bias) / theta + initial - 1/2 -
    rest - m, which rounding passes gradients on to, d the number of digits as a smooth function of
    due / (1 + 2 hysteresis), and G = d loss / d value:
    d loss / d due = G theta + d loss / d spent * cost * d', and directly d value / d rest = theta.
    For theta m theta is a constant, for a change does not grow with what was sent before: directly
    d value / d theta = n + rest - m, and phi(z + bias) / theta - m falls as 1 / theta.
    """

    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        theta: Tensor,
        initial: Tensor,
        bias: Tensor,
        rest: Tensor,
        phi: Activation,
        cost: Tensor,
        slack: float,
        before: Tensor,
        hysteresis: float,
    ) -> tuple[Tensor, Tensor]:
        shift = initial - 0.5 - rest
        value = torch.empty_like(z)
        spent = z.new_zeros(len(z))
        for images, rows in _blocks(z.shape):
            m = before[images, rows]
            due = phi(z[images, rows] + bias).div_(theta).add_(shift).sub_(m)
            k = send(due, m, slack, hysteresis)
            spent[images] += count_digits(k - m).mul_(cost[rows]).sum((1, 2))
            torch.mul(k.add_(rest), theta, out=value[images, rows])
        ctx.save_for_backward(z, theta, shift, bias, value, cost, before)
        ctx.phi = phi
        ctx.share = 1 / (1 + 2 * hysteresis)
        return value, spent

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        z, theta, shift, bias, value, cost, before = ctx.saved_tensors
        of_value, of_spent = gradients
        of_z = torch.empty_like(z)
        of_theta, of_initial, of_bias, of_rest = theta.new_zeros(4, len(theta))
        for images, rows in _blocks(z.shape):
            x = (z[images, rows] + bias).requires_grad_()
            with torch.enable_grad():
                y = ctx.phi(x)
            m = before[images, rows]
            scaled = y.detach() / theta - m
            direct = of_value[images, rows] * theta
            due = (scaled + shift).mul_(ctx.share)
            digits = smooth_digits_slope(due).mul_(cost[rows] * ctx.share)
            of_due = digits.mul_(of_spent[images, None, None]).add_(direct)
            (of_x,) = torch.autograd.grad(y, x, of_due / theta)
            of_z[images, rows] = of_x
            new = value[images, rows] - m * theta
            of_theta += (of_value[images, rows] * new).sum((0, 1))
            of_theta -= (of_due * scaled).sum((0, 1))
            of_initial += of_due.sum((0, 1))
            of_bias += of_x.sum((0, 1))
            of_rest += direct.sum((0, 1))
        of_rest -= of_initial
        return of_z, of_theta / theta, of_initial, of_bias, of_rest, *[None] * 5


def _rows(x: Tensor) -> Tensor:
    """[N, C, ...] as [N, positions, C]: a view where channels come last in memory."""
    return x.movedim(1, -1).reshape(len(x), -1, x.shape[1])


def _blocks(shape: torch.Size) -> Iterator[tuple[slice, slice]]:
    """Images and positions of [N, positions, C], of about BLOCK values: whole images where several
    make a block.
    """
    n, positions, channels = shape
    images = max(1, BLOCK // (positions * channels))
    rows = max(1, BLOCK // channels)
    for i in range(0, n, images):
        for k in range(0, positions, rows):
            yield slice(i, i + images), slice(k, k + rows)


def smooth_digits(due: Tensor) -> Tensor:
    """About how many digits round(due) has: log2 |due| / 3 + 0.8 of large numbers, 0 of 0."""
    return torch.log2(1 + 32 * due.square()) / 6


def smooth_digits_slope(due: Tensor) -> Tensor:
    """The derivative of `smooth_digits`."""
    return due * (32 / 3 / math.log(2)) / due.square().mul_(32).add_(1)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, smooth: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


def straight_through(value: Tensor, smooth: Tensor) -> Tensor:
    """`value`, with the gradient of `smooth`."""
    return _StraightThrough.apply(value, smooth)  # type: ignore[return-value]
