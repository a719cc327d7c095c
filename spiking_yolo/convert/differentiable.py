"""A network that sends complete values in one step, as a function with gradients.

Each activation is rounded to a whole number of thetas, as SignedMemory rounds it, and an event
costs the synaptic operations that it causes. Rounding passes gradients on as if it were not there
(the straight-through estimator of Bengio et al. 2013; for theta as in LSQ, Esser et al. 2020), and
the number of digits as if it were a smooth function.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.graph import OPS, Graph, Node, shapes
from spiking_yolo.graph.rewrites import pool_before_neuron
from spiking_yolo.io.names import Size
from spiking_yolo.snn import operations
from spiking_yolo.snn.counting import Counts, count_digits, thrifty_round
from spiking_yolo.snn.layout import channels_last, per_channel

# Node -> theta, initial, bias, rest of its neurons.
Values = Mapping[str, Mapping[str, Tensor]]


class CompleteNetwork:
    """The spiking network as a function of the parameters of its neurons.

    Args:
        graph: The ANN.
        imgsz: Size of the input.
        slack, pool_first: As in the recipe.
        least: The smallest theta of each activation, [C].

    Attributes:
        graph: As it is simulated, with max pooling before the neurons if `pool_first`.
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
        pool_first: bool = True,
        least: Mapping[str, Tensor] | None = None,
    ):
        self.graph = pool_before_neuron(graph) if pool_first else graph
        self.slack = slack
        self.least = least or {}
        sizes = shapes(self.graph, *imgsz)
        self.sites = {node.name: sizes[node.name][1] for node in self.graph.activations}
        # Activation -> name and attributes of the max poolings that read it.
        self._pools: dict[str, list[tuple[str, Any]]] = {}
        senders = list(self.sites)
        for node in self.graph.nodes:
            if node.op == "max_pool" and node.inputs[0] in self.sites:
                self._pools.setdefault(node.inputs[0], []).append((node.name, node.attrs))
                senders.append(node.name)
        # Operations are a linear function of the events, so its gradient is their costs.
        events = {name: torch.zeros(sizes[name], requires_grad=True) for name in senders}
        counts = {name: Counts.alike(zeros) for name, zeros in events.items()}
        with torch.enable_grad():
            total = operations.total_operations(self.graph, counts, sizes).digits.sum()
            # Where no event reaches a weight.
            total = total + sum(0 * zeros.sum() for zeros in events.values())
            costs = torch.autograd.grad(total, list(events.values()), materialize_grads=True)
        self.macs = operations.total_macs(self.graph, sizes, senders)[0]
        self.costs = {name: cost / self.macs for name, cost in zip(events, costs, strict=True)}

    def senders(self, site: str) -> list[str]:
        """The nodes that send what an activation fires: itself, and the poolings behind it."""
        return [site, *(name for name, _ in self._pools.get(site, ()))]

    def __call__(self, x: Tensor, values: Values) -> tuple[list[Tensor], Tensor]:
        """The outputs for images [N, C, H, W], and the operations per MAC of each, [N]."""
        results: dict[str, Tensor] = {}
        spent = x.new_zeros(len(x))
        for node in self.graph.nodes:
            inputs = [results[name] for name in node.inputs]
            if node.op == "input":
                inputs = [channels_last(x)]
            if node.op != "activation":
                results[node.name] = OPS[node.op](node.attrs, *self.graph.parameters(node), *inputs)
                continue
            parameters = values[node.name]
            n, due = self._sent(node, inputs[0], parameters)
            value = n
            if "rest" in parameters:
                value = n + per_channel(parameters["rest"], n)
            results[node.name] = value * per_channel(parameters["theta"], n)
            spent = spent + self._spent(node.name, n, due)
            for name, attrs in self._pools.get(node.name, ()):
                pooled_n = OPS["max_pool"](attrs, None, None, n)
                pooled_due = OPS["max_pool"](attrs, None, None, due)
                spent = spent + self._spent(name, pooled_n, pooled_due)
        outputs = [self._corrected(name, results[name], values) for name in self.graph.outputs]
        return outputs, spent

    def _sent(
        self, node: Node, z: Tensor, parameters: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """How many thetas each neuron sends besides its resting value, and the number before
        rounding.
        """
        if "bias" in parameters:
            z = z + per_channel(parameters["bias"], z)
        half = per_channel(parameters["initial"], z) - 0.5
        due = node.phi.continuous(z) / per_channel(parameters["theta"], z) + half
        if "rest" in parameters:
            due = due - per_channel(parameters["rest"], z)
        n = thrifty_round(due.detach(), self.slack)
        return straight_through(n, due), due

    def _spent(self, name: str, n: Tensor, due: Tensor) -> Tensor:
        """Operations per MAC of what a node sends, [N]."""
        digits = straight_through(count_digits(n.detach()), smooth_digits(due))
        return (digits * self.costs[name]).flatten(1).sum(1)

    def _corrected(self, name: str, output: Tensor, values: Values) -> Tensor:
        """An output with its trained bias, if it is not made by neurons."""
        bias = values.get(name, {}).get("bias") if name not in self.sites else None
        return output if bias is None else output + per_channel(bias, output)


def smooth_digits(due: Tensor) -> Tensor:
    """About how many digits round(due) has: log2 |due| / 3 + 0.8 of large numbers, 0 of 0."""
    return torch.log2(1 + 32 * due.square()) / 6


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
