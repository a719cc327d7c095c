"""A network that sends complete values as a function with a gradient: what its neurons do in the
one step they need.

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
    """graph: of the ANN. imgsz: of the input. slack, pool_first: as in the recipe. least: of theta,
    [C], by activation.

    sites: activation -> channels. costs: node that sends events -> synaptic operations that an
    event of each of its neurons causes, per multiply-accumulate of the ANN, [1, C, ...].
    """

    def __init__(
        self,
        graph: Graph,
        imgsz: Size,
        slack: float = 0.0,
        pool_first: bool = True,
        least: Mapping[str, Tensor] | None = None,
    ):
        self.least = least or {}
        self.graph = pool_before_neuron(graph) if pool_first else graph
        self.slack = slack
        known = shapes(self.graph, *imgsz)
        self.sites = {node.name: known[node.name][1] for node in self.graph.activations}
        pools = [
            node
            for node in self.graph.nodes
            if node.op == "max_pool" and node.inputs[0] in self.sites
        ]
        self._pools: dict[str, list[tuple[str, Any]]] = {}
        for node in pools:
            self._pools.setdefault(node.inputs[0], []).append((node.name, node.attrs))
        sending = (*self.sites, *(node.name for node in pools))
        sources = {name: torch.zeros(known[name], requires_grad=True) for name in sending}
        counts = {name: Counts.alike(zeros) for name, zeros in sources.items()}
        with torch.enable_grad():
            total = operations.total_operations(self.graph, counts).digits.sum()
            # Where no event reaches a weight.
            total = total + sum(0 * zeros.sum() for zeros in sources.values())
            costs = torch.autograd.grad(total, list(sources.values()), materialize_grads=True)
        self.macs = operations.total_macs(self.graph, known, sending)[0]
        self.costs = {name: cost / self.macs for name, cost in zip(sources, costs, strict=True)}

    def senders(self, site: str) -> list[str]:
        """The nodes that send what an activation fires: itself, and the poolings behind it."""
        return [site, *(name for name, _ in self._pools.get(site, ()))]

    def __call__(self, x: Tensor, values: Values) -> tuple[list[Tensor], Tensor]:
        """The outputs for images [N, C, H, W], and the operations per MAC of each, [N]."""
        done: dict[str, Tensor] = {}
        spent = x.new_zeros(len(x))
        for node in self.graph.nodes:
            given = (
                [done[name] for name in node.inputs] if node.op != "input" else [channels_last(x)]
            )
            if node.op == "activation":
                n, due = self._sent(node, given[0], values[node.name])
                own = values[node.name]
                value = n + per_channel(own["rest"], n) if "rest" in own else n
                done[node.name] = value * per_channel(own["theta"], n)
                spent = spent + self._spent(node.name, n, due)
                for name, attrs in self._pools.get(node.name, ()):
                    spent = spent + self._spent(
                        name, *(OPS["max_pool"](attrs, None, None, v) for v in (n, due))
                    )
            else:
                done[node.name] = OPS[node.op](node.attrs, *self.graph.parameters(node), *given)
        return [self._corrected(name, done[name], values) for name in self.graph.outputs], spent

    def _sent(self, node: Node, z: Tensor, own: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """How many thetas each neuron sends besides its value at rest, and what is rounded
        to that.
        """
        if "bias" in own:
            z = z + per_channel(own["bias"], z)
        due = node.phi.continuous(z) / per_channel(own["theta"], z) + (
            per_channel(own["initial"], z) - 0.5
        )
        if "rest" in own:
            due = due - per_channel(own["rest"], z)
        n = thrifty_round(due.detach(), self.slack)
        return straight_through(n, due), due

    def _spent(self, name: str, n: Tensor, due: Tensor) -> Tensor:
        """Operations per MAC of what a node sends, [N]."""
        digits = straight_through(count_digits(n.detach()), smooth_digits(due))
        return (digits * self.costs[name]).flatten(1).sum(1)

    def _corrected(self, name: str, output: Tensor, values: Values) -> Tensor:
        bias = values.get(name, {}).get("bias") if name not in self.sites else None
        return output if bias is None else output + per_channel(bias, output)


def smooth_digits(due: Tensor) -> Tensor:
    """About how many digits round(due) has: a third of log2 |due| and .8 for large values, 0
    for 0.
    """
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
