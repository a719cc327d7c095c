"""The network in the words of NIR, before a node is written.

`with_sums` turns joined channels, slices of channels and ON/OFF pairs into sums of convolutions:
W [a; b] = W_a a + W_b b with the weights for the channels of each, and W reads from a pair
W on + (-slope W) off. Such a value is kept as a list of terms until a layer with weights reads it.

`with_offsets` and `normalised` fold thresholds and constant currents into weights and biases, so
that spikes are ones: W theta_in / theta_out and b / theta_out, with threshold 1 (Rueckauer et al.
2017, section 2.2.2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.convert.thresholds import NeuronParameters
from spiking_yolo.graph import Graph, Node
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.units import Unit, fold, same


@dataclass(frozen=True)
class Term:
    """One summand of a value: matrix [C, channels of source] times what the node `source` sends.

    None stands for the identity.
    """

    source: str
    matrix: Tensor | None = None

    def times(self, matrix: Tensor) -> "Term":
        return Term(self.source, matrix if self.matrix is None else matrix @ self.matrix)


@dataclass(frozen=True)
class Summed:
    """A network without concatenations, slices of channels and pairs.

    Attributes:
        graph: Its layers.
        neurons: By layer theta, and bias where there is one.
        pairs: Layer of a pair -> the activation that it stands for, and "on" or "off".
    """

    graph: Graph
    neurons: NeuronParameters
    pairs: Mapping[str, tuple[str, str]]


def with_sums(graph: Graph, neurons: NeuronParameters, sizes: Mapping[str, torch.Size]) -> Summed:
    """Rewrite concatenations, slices of channels and pairs as sums; nothing that is sent changes.

    The pair NODE becomes the ReLU layers NODE_on and NODE_off, of which the second reads the
    negative current. A layer with weights that reads several terms becomes one per term, NODE_0,
    NODE_1, ..., of which the first has the bias, and their sum NODE. Where a node without weights
    reads them, convolutions of kernel 1 make them one value.

    Args:
        graph: The network.
        neurons: As in Converted.
        sizes: Shape of every node's output, [1, C, ...].
    """
    rewriter = _Rewriter(graph, sizes)
    for node in graph.nodes:
        rewriter.add(node, neurons.get(node.name, {}))
    outputs = {name: rewriter.whole(name) for name in graph.outputs}
    for name, output in outputs.items():
        if name in neurons and graph[name].op != "activation":
            rewriter.neurons[output] = neurons[name]
    ends = tuple(outputs[name] for name in graph.outputs)
    whole = Graph(tuple(rewriter.nodes), ends, rewriter.tensors)
    return Summed(whole, rewriter.neurons, rewriter.pairs)


def slices_channels(node: Node, sizes: Mapping[str, torch.Size]) -> bool:
    """Whether a slice leaves rows and columns whole."""
    return sizes[node.name][2:] == sizes[node.inputs[0]][2:]


class _Rewriter:
    """terms: node of the original -> the terms whose sum its value is."""

    def __init__(self, graph: Graph, sizes: Mapping[str, torch.Size]):
        self.graph = graph
        self.sizes = sizes
        self.like = next(iter(graph.tensors.values()))
        self.names = {node.name for node in graph.nodes}
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.neurons: dict[str, Mapping[str, Tensor]] = {}
        self.pairs: dict[str, tuple[str, str]] = {}
        self.terms: dict[str, list[Term]] = {}

    def add(self, node: Node, own: Mapping[str, Tensor]) -> None:
        """Add a node of the original. own: its neurons' parameters."""
        if node.op == "concat":
            terms = []
            channels = [self.sizes[name][1] for name in node.inputs]
            places = self._identity(node.name).split(channels, 1)
            for name, place in zip(node.inputs, places, strict=True):
                terms += [term.times(place) for term in self.terms[name]]
        elif node.op == "slice" and slices_channels(node, self.sizes):
            rows = self._identity(node.inputs[0])[slice(*node.attrs["slices"][0])]
            terms = [term.times(rows) for term in self.terms[node.inputs[0]]]
        elif node.op == "activation" and "theta_off" in own:
            terms = self._pair(node, own)
        elif node.weighted:
            terms = [Term(self._weighted(node, node.name))]
        else:
            inputs = tuple(self.whole(name) for name in node.inputs)
            terms = [Term(self._put(replace(node, inputs=inputs), own))]
        self.terms[node.name] = terms

    def whole(self, name: str) -> str:
        """The node of the new graph with the value of `name`, which is added if there is none."""
        terms = self.terms[name]
        if len(terms) > 1 or terms[0].matrix is not None:
            parts = []
            for own, term in zip(self._names(name, terms), terms, strict=True):
                parts.append(term.source if term.matrix is None else self._times(term, own, name))
            self.terms[name] = [Term(self._total(name, parts))]
        return self.terms[name][0].source

    def _pair(self, node: Node, own: Mapping[str, Tensor]) -> list[Term]:
        """The bias of a pair is added before the sign turns."""
        current = self.graph[node.inputs[0]]
        minus = self._free(f"{current.name}_off")
        identity = self._identity(node.name)
        if current.weighted:
            minus = self._weighted(current, minus, -1)
        else:
            minus = self._times(Term(self.whole(current.name), -identity), minus, current.name)
        layers = []
        for side, source, theta, sign in (
            ("on", self.whole(current.name), own["theta"], 1),
            ("off", minus, own["theta_off"], -1),
        ):
            name = self._free(f"{node.name}_{side}")
            parameters = {"theta": theta}
            if "bias" in own:
                parameters["bias"] = sign * own["bias"]
            self.pairs[name] = node.name, side
            layers.append(
                self._put(Node(name, "activation", (source,), {"slope": 0.0}), parameters)
            )
        on, off = layers
        return [Term(on), Term(off, -node.phi.slope * identity)]

    def _weighted(self, node: Node, name: str, sign: int = 1) -> str:
        """Add a layer of the original as `name`, for its input's terms; sign: of its output."""
        weight, bias = self.graph.parameters(node)
        assert weight is not None and bias is not None
        terms, attrs = self.terms[node.inputs[0]], node.attrs
        if any(term.matrix is not None for term in terms) and attrs.get("groups", 1) > 1:
            weight = dense(weight, attrs["groups"])
            attrs = {**attrs, "groups": 1}
        parts = []
        for own, term in zip(self._names(name, terms), terms, strict=True):
            kernel = weight
            if term.matrix is not None:
                kernel = torch.einsum("oi...,ij->oj...", weight, term.matrix)
            layer = Node(own, node.op, (term.source,), attrs)
            parts.append(self._layer(layer, sign * kernel, sign * bias))
            bias = torch.zeros_like(bias)
        return self._total(name, parts)

    def _times(self, term: Term, name: str, value: str) -> str:
        """Add a layer: matrix times source. value: a node of the original of the same shape."""
        assert term.matrix is not None
        bias = term.matrix.new_zeros(len(term.matrix))
        if len(self.sizes[value]) == 2:
            return self._layer(Node(name, "linear", (term.source,)), term.matrix, bias)
        attrs: dict[str, Any] = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1]}
        layer = Node(name, "conv", (term.source,), {**attrs, "groups": 1})
        return self._layer(layer, term.matrix[..., None, None], bias)

    def _layer(self, node: Node, weight: Tensor, bias: Tensor) -> str:
        self.tensors |= {f"{node.name}.weight": weight, f"{node.name}.bias": bias}
        return self._put(node)

    def _total(self, name: str, parts: Sequence[str]) -> str:
        """The sum of nodes; of more than one under this name."""
        total = parts[0]
        for k, part in enumerate(parts[1:], 2):
            own = name if k == len(parts) else self._free(f"{name}_sum")
            total = self._put(Node(own, "add", (total, part)))
        return total

    def _put(self, node: Node, own: Mapping[str, Tensor] | None = None) -> str:
        self.nodes.append(node)
        if own:
            self.neurons[node.name] = own
        return node.name

    def _names(self, name: str, terms: Sequence[Term]) -> list[str]:
        if len(terms) == 1:
            return [name]
        return [self._free(f"{name}_{k}") for k in range(len(terms))]

    def _free(self, name: str) -> str:
        """The name, with underscores until no other node has it; it is then in use."""
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name

    def _identity(self, name: str) -> Tensor:
        return torch.eye(self.sizes[name][1], dtype=self.like.dtype, device=self.like.device)


def with_offsets(graph: Graph, neurons: NeuronParameters, recipe: Recipe) -> Graph:
    """The graph with constant currents of neurons in the bias of the layer before them.

    These are a calibrated bias, and theta / (2 shift). neurons: as in Converted. No node may be
    `uncarried`.
    """
    tensors = dict(graph.tensors)
    for offset, carrier in _carriers(graph, neurons, recipe).values():
        assert carrier is not None
        bias = tensors[f"{carrier}.bias"]
        tensors[f"{carrier}.bias"] = bias + offset.to(bias)
    return replace(graph, tensors=tensors)


def uncarried(graph: Graph, neurons: NeuronParameters, recipe: Recipe) -> list[str]:
    """The nodes with a constant current that no layer can take in, since none feeds them alone."""
    carriers = _carriers(graph, neurons, recipe)
    return [name for name, (_, carrier) in carriers.items() if carrier is None]


def _carriers(
    graph: Graph, neurons: NeuronParameters, recipe: Recipe
) -> dict[str, tuple[Tensor, str | None]]:
    """Node -> its constant current [C], and the layer whose bias takes it."""
    carriers: dict[str, tuple[Tensor, str | None]] = {}
    for node in graph.nodes:
        own = neurons.get(node.name, {})
        offset = own.get("bias")
        if node.op == "activation" and recipe.neuron.shift:
            shift = own["theta"] / (2 * recipe.neuron.shift)
            offset = shift if offset is None else shift + offset
        if offset is not None:
            before = node.inputs if node.op == "activation" else (node.name,)
            carriers[node.name] = offset, _carrier(graph, before)
    return carriers


def _carrier(graph: Graph, names: Sequence[str]) -> str | None:
    """The first layer with weights of `names`, or of the operands of sums, that has one reader."""
    users = graph.consumers()
    for name in names:
        node = graph[name]
        if len(users[name]) + graph.outputs.count(name) != 1:
            continue
        if node.weighted:
            return name
        if node.op == "add" and (carrier := _carrier(graph, node.inputs)):
            return carrier
    return None


def delivered_units(graph: Graph, thetas: Mapping[str, Tensor]) -> dict[str, Unit]:
    """The unit, [C], in which every node delivers its value.

    This is the theta of the neurons that it feeds if it feeds these alone, also through sums and
    average pooling; else None, the unit of the original network. thetas: [C] by activation node.
    """
    users = graph.consumers()
    units: dict[str, Unit] = {}
    for node in reversed(graph.nodes):
        requests: list[Unit] = [None] if node.name in graph.outputs else []
        for user in users[node.name]:
            if user.op == "activation":
                requests.append(thetas[user.name])
            elif user.op in ("add", "avg_pool", "global_avg_pool"):
                requests.append(units[user.name])
            else:
                requests.append(None)
        agree = all(same(requests[0], request) for request in requests)
        units[node.name] = requests[0] if requests and agree else None
    return units


def normalised(graph: Graph, node: Node, unit_in: Unit, unit_out: Unit) -> tuple[Tensor, Tensor]:
    """Weight and bias that take values in unit_in and deliver in unit_out.

    A convolution gets one group, because the package nir cannot read a grouped one back.
    """
    weight, bias = graph.parameters(node)
    assert weight is not None and bias is not None
    groups = node.attrs.get("groups", 1)
    weight = dense(fold(weight, unit_in, groups), groups)
    if unit_out is not None:
        unit_out = unit_out.to(weight)
        weight = weight / unit_out.reshape(-1, *[1] * (weight.ndim - 1))
        bias = bias / unit_out
    return weight, bias


def dense(weight: Tensor, groups: int) -> Tensor:
    """A weight [out, in / groups, kh, kw] as that of one group, [out, in, kh, kw]."""
    if groups == 1:
        return weight
    whole = weight.new_zeros(len(weight), groups * weight.shape[1], *weight.shape[2:])
    for k, block in enumerate(weight.chunk(groups)):
        whole.chunk(groups)[k].chunk(groups, 1)[k].copy_(block)
    return whole


def ratio(unit_in: Unit, unit_out: Unit, channels: int, like: Tensor) -> Tensor:
    """The factor per channel from one unit to another, [channels]."""
    one = torch.ones(channels, dtype=like.dtype, device=like.device)
    numerator = one if unit_in is None else unit_in.to(like)
    return numerator / (one if unit_out is None else unit_out.to(like))
