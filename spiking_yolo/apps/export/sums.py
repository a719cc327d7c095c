"""Joined channels, slices of channels and ON/OFF pairs as what NIR has: sums of convolutions.

W [a; b] = W_a a + W_b b with the weights for the channels of each, and W takes from a pair W on +
(-slope W) off. So such a value is kept as a list of terms until a layer with weights reads it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.apps.export.folding import dense
from spiking_yolo.convert.thresholds import NeuronParameters
from spiking_yolo.graph import Graph, Node


@dataclass(frozen=True)
class Term:
    """One summand of a value: matrix [C, channels of source] times what the node `source` sends;
    None: itself.
    """

    source: str
    matrix: Tensor | None = None


@dataclass(frozen=True)
class Summed:
    """A network without concatenations, slices of channels and pairs. neurons: theta, and bias
    where there is one.

    pairs: layer of a pair -> the activation that it stands for, and "on" or "off".
    """

    graph: Graph
    neurons: NeuronParameters
    pairs: Mapping[str, tuple[str, str]]


def with_sums(graph: Graph, neurons: NeuronParameters, sizes: Mapping[str, torch.Size]) -> Summed:
    """The same network in other words. neurons: as in Converted. sizes: of every node's output, [1,
    C, ...].

    The pair NODE becomes the ReLU layers NODE_on and NODE_off, of which the second reads the
    negative current. A layer with weights that reads several terms becomes one per term, NODE_0,
    NODE_1, ..., of which the first has the bias, and their sum NODE. Where something without
    weights reads them, convolutions of kernel 1 make them one value.
    """
    rewriter = _Rewriter(graph, sizes)
    for node in graph.nodes:
        rewriter.add(node, neurons.get(node.name, {}))
    outputs = {name: rewriter.whole(name) for name in graph.outputs}
    corrected = {
        outputs[name]: neurons[name]
        for name in outputs
        if name in neurons and graph[name].op != "activation"
    }
    whole = Graph(
        tuple(rewriter.nodes), tuple(outputs[name] for name in graph.outputs), rewriter.tensors
    )
    return Summed(whole, rewriter.neurons | corrected, rewriter.pairs)


def slices_channels(node: Node, sizes: Mapping[str, torch.Size]) -> bool:
    """Whether a slice leaves rows and columns whole."""
    return sizes[node.name][2:] == sizes[node.inputs[0]][2:]


class _Rewriter:
    """terms: node of the original -> what its value is the sum of."""

    def __init__(self, graph: Graph, sizes: Mapping[str, torch.Size]):
        self.graph, self.sizes = graph, sizes
        self.like = next(iter(graph.tensors.values()))
        self.taken = {node.name for node in graph.nodes}
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.neurons: dict[str, Mapping[str, Tensor]] = {}
        self.pairs: dict[str, tuple[str, str]] = {}
        self.terms: dict[str, list[Term]] = {}

    def add(self, node: Node, own: Mapping[str, Tensor]) -> None:
        if node.op == "concat":
            places = self._identity(node.name).split(
                [self.sizes[name][1] for name in node.inputs], 1
            )
            given = zip(node.inputs, places, strict=True)
            terms = [_times(place, term) for name, place in given for term in self.terms[name]]
        elif node.op == "slice" and slices_channels(node, self.sizes):
            kept = self._identity(node.inputs[0])[slice(*node.attrs["slices"][0])]
            terms = [_times(kept, term) for term in self.terms[node.inputs[0]]]
        elif node.op == "activation" and "theta_off" in own:
            terms = self._pair(node, own)
        elif node.weighted:
            terms = [Term(self._weighted(node, node.name))]
        else:
            terms = [
                Term(
                    self._put(
                        replace(node, inputs=tuple(self.whole(name) for name in node.inputs)), own
                    )
                )
            ]
        self.terms[node.name] = terms

    def whole(self, name: str) -> str:
        """The node of the new graph with the value of `name`; it is made where there is none
        yet.
        """
        terms = self.terms[name]
        if len(terms) > 1 or terms[0].matrix is not None:
            own = self._names(name, terms)
            parts = [
                t.source if t.matrix is None else self._times(t, own[k], name)
                for k, t in enumerate(terms)
            ]
            self.terms[name] = [Term(self._total(name, parts))]
        return self.terms[name][0].source

    def _pair(self, node: Node, own: Mapping[str, Tensor]) -> list[Term]:
        """The bias of a pair is added before the sign turns."""
        current = self.graph[node.inputs[0]]
        minus, identity = self._free(f"{current.name}_off"), self._identity(node.name)
        if current.weighted:
            minus = self._weighted(current, minus, -1)
        else:
            minus = self._times(Term(self.whole(current.name), -identity), minus, current.name)
        made: list[str] = []
        sides = (
            ("on", self.whole(current.name), own["theta"], 1),
            ("off", minus, own["theta_off"], -1),
        )
        for side, given, theta, sign in sides:
            bias = {"bias": sign * own["bias"]} if "bias" in own else {}
            layer = Node(self._free(f"{node.name}_{side}"), "activation", (given,), {"slope": 0.0})
            made.append(self._put(layer, {"theta": theta, **bias}))
            self.pairs[layer.name] = node.name, side
        return [Term(made[0]), Term(made[1], -node.phi.slope * identity)]

    def _weighted(self, node: Node, name: str, sign: int = 1) -> str:
        """A layer of the original under another name, on the terms of its input; sign: of its
        output.
        """
        weight, bias = self.graph.parameters(node)
        assert weight is not None and bias is not None
        terms, attrs = self.terms[node.inputs[0]], node.attrs
        if any(term.matrix is not None for term in terms) and attrs.get("groups", 1) > 1:
            weight, attrs = dense(weight, attrs["groups"]), {**attrs, "groups": 1}
        parts: list[str] = []
        for own, term in zip(self._names(name, terms), terms, strict=True):
            kernel = (
                weight
                if term.matrix is None
                else torch.einsum("oi...,ij->oj...", weight, term.matrix)
            )
            parts.append(
                self._layer(Node(own, node.op, (term.source,), attrs), sign * kernel, sign * bias)
            )
            bias = torch.zeros_like(bias)
        return self._total(name, parts)

    def _times(self, term: Term, name: str, value: str) -> str:
        """matrix times source as a layer `name`. value: a node of the original whose shape the
        result has.
        """
        assert term.matrix is not None
        bias = term.matrix.new_zeros(len(term.matrix))
        if len(self.sizes[value]) == 2:
            return self._layer(Node(name, "linear", (term.source,)), term.matrix, bias)
        attrs: Mapping[str, Any] = {
            "stride": [1, 1],
            "padding": [0, 0],
            "dilation": [1, 1],
            "groups": 1,
        }
        return self._layer(
            Node(name, "conv", (term.source,), attrs), term.matrix[..., None, None], bias
        )

    def _layer(self, node: Node, weight: Tensor, bias: Tensor) -> str:
        self.tensors |= {f"{node.name}.weight": weight, f"{node.name}.bias": bias}
        return self._put(node)

    def _total(self, name: str, parts: Sequence[str]) -> str:
        """The sum of nodes; of more than one under this name."""
        total = parts[0]
        for k, part in enumerate(parts[1:], 2):
            total = self._put(
                Node(name if k == len(parts) else self._free(f"{name}_sum"), "add", (total, part))
            )
        return total

    def _put(self, node: Node, own: Mapping[str, Tensor] | None = None) -> str:
        self.nodes.append(node)
        self.neurons |= {node.name: own} if own else {}
        return node.name

    def _names(self, name: str, terms: Sequence[Term]) -> list[str]:
        return [name] if len(terms) == 1 else [self._free(f"{name}_{k}") for k in range(len(terms))]

    def _free(self, name: str) -> str:
        """The name, with underscores until no other node has it; from now on it is taken."""
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def _identity(self, name: str) -> Tensor:
        return torch.eye(self.sizes[name][1], dtype=self.like.dtype, device=self.like.device)


def _times(matrix: Tensor, term: Term) -> Term:
    return Term(term.source, matrix if term.matrix is None else matrix @ term.matrix)
