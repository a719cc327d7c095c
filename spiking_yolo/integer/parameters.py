"""The whole weights, scales and biases of a network, made of the ANN and its thresholds."""

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node, shapes
from spiking_yolo.graph.rewrites import terms
from spiking_yolo.integer.convolution import Border, WholeConvolution, at_every_input
from spiking_yolo.integer.neuron import LARGEST, WholeLayer, each
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import Neuron
from spiking_yolo.spikes.layout import NeuronParameters, fold, levels_and_step

# Weights are rounded to so many bits.
BITS = 8
# Zero points are multiples of theta / PARTS.
PARTS = 256


@dataclass(frozen=True)
class Unit:
    """What a node hands on: whole numbers n, which mean n * scale + bias in values of the ANN.

    Attributes:
        scale, bias: [C], float64.
        largest: Bound on |n|.
    """

    scale: Tensor
    bias: Tensor
    largest: float

    @classmethod
    def of(cls, scale: Tensor, largest: float) -> Self:
        """A unit whose bias is 0."""
        return cls(scale, torch.zeros_like(scale), largest)

    @classmethod
    def joined(cls, units: Sequence["Unit"]) -> Self:
        """The unit of maps whose channels are joined."""
        scale = torch.cat([unit.scale for unit in units])
        bias = torch.cat([unit.bias for unit in units])
        return cls(scale, bias, max(unit.largest for unit in units))


class NetworkParameters:
    """All numbers of a network of whole numbers.

    Args:
        graph: The network as it is computed, see `distribute_sums`.
        neurons: Parameters by activation, and the bias of outputs.
        settings: Settings of the neurons.
        spec: Its interface.

    Attributes:
        convolutions: Layers with weights.
        layers: Layers of neurons.
        units: The unit of every node.
    """

    def __init__(self, graph: Graph, neurons: NeuronParameters, settings: Neuron, spec: Spec):
        self._graph, self._settings, self._spec = graph, settings, spec
        self._sizes, self._users = shapes(graph, spec.height, spec.width), graph.consumers()
        self._neurons = centred(graph, tied(graph, neurons))
        self._mean, std = (torch.tensor(x).double() for x in (spec.mean, spec.std))
        self._scale = 255 * std
        # The byte that stands for 0, rounded.
        self.input_zero = (255 * self._mean).round()
        self.convolutions: dict[str, WholeConvolution] = {}
        self.layers: dict[str, WholeLayer] = {}
        self.units: dict[str, Unit] = {}
        for node in graph.nodes:
            self.units[node.name] = self._unit(node)
        # Scale and bias of each map that a head is, or is the sum of, in values of the ANN.
        self._heads: dict[str, tuple[Tensor, Tensor]] = {}
        # Head -> its corrected bias; of a sum, what is added to it.
        self._corrections: dict[str, Tensor] = {}
        for name in graph.outputs:
            summands = terms(graph, name)
            for one in summands:
                self._heads[one] = self.units[one].scale.float(), self.units[one].bias.float()
            if graph[name].op == "activation" or "bias" not in neurons.get(name, {}):
                continue
            correction = neurons[name]["bias"]
            if len(summands) == 1:
                correction = self.units[name].bias + correction
            self._corrections[name] = correction.float()

    def to(self, device: torch.device) -> Self:
        """Itself, with weights and neurons on another device."""
        if device.type != "cpu":
            for name in vars(self).keys() - {"_graph", "_neurons", "units"}:
                setattr(self, name, moved(getattr(self, name), device))
        return self

    def as_bytes(self, x: Tensor) -> Tensor:
        """Images as bytes, uint8: as they are, or rounded where they are as the ANN takes them."""
        return x if x.dtype == torch.uint8 else self.rounded(x).to(torch.uint8)

    def rounded(self, x: Tensor) -> Tensor:
        """Images as the ANN takes them as whole numbers from 0 to 255."""
        mean, scale = (value.to(x)[:, None, None] for value in (self._mean, self._scale))
        x = x * scale
        if any(self._spec.mean):
            x = x + 255 * mean
        return x.round_().clamp_(0, 255)

    def whole(self, image: Tensor) -> Tensor:
        """Bytes less those that stand for 0: whole numbers, float32."""
        return image.float() - self.input_zero.to(image.device).float()[:, None, None]

    def output(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        """A head in values of the ANN, with its correction."""
        if self._graph[name].op != "add":
            return self._value(name, values, self._corrections.get(name))
        total = self._value(name, values)
        if name in self._corrections:
            total = total + each(self._corrections[name], total)
        return total

    def head(self, name: str) -> tuple[Tensor, Tensor]:
        """Scale and bias of a head that is no sum of maps: whole numbers * scale + bias."""
        scale, bias = self._heads[name]
        return scale, self._corrections.get(name, bias)

    def _value(
        self, name: str, values: Mapping[str, Tensor], corrected: Tensor | None = None
    ) -> Tensor:
        """A head, or a map that it is the sum of; corrected: Its bias, where it is another one."""
        if self._graph[name].op == "add":
            left, right = (self._value(source, values) for source in self._graph[name].inputs)
            return left + right
        n = values[name]
        scale, bias = self._heads[name]
        return n * each(scale, n) + each(bias if corrected is None else corrected, n)

    def _unit(self, node: Node) -> Unit:
        """The unit of a node; prepares its weights or its neurons."""
        given = [self.units[name] for name in node.inputs]
        if node.op == "input":
            return Unit.of(1 / self._scale, 255)
        if node.op == "activation":
            return self._layer(node)
        if node.weighted:
            return self._weights(node, given[0])
        if node.product:
            return self._product(node, given)
        if node.op == "concat":
            return Unit.joined(given)
        if node.op == "slice":
            part = slice(*node.attrs["slices"][0])
            return Unit(given[0].scale[part], given[0].bias[part], given[0].largest)
        if node.op == "add":
            self._check_sum(node)
        if node.op == "flatten":
            # The features of a map are one channel after the other.
            each = self._sizes[node.name][1] // len(given[0].scale)
            scale, bias = (x.repeat_interleave(each) for x in (given[0].scale, given[0].bias))
            return Unit(scale, bias, given[0].largest)
        if node.op in ("avg_pool", "global_avg_pool"):
            window = self._window(node)
            return Unit(given[0].scale / window, given[0].bias, given[0].largest * window)
        return given[0]

    def _check_sum(self, node: Node) -> None:
        for user in self._users[node.name]:
            if user.op not in ("activation", "add"):
                reader = f"{user.name!r} ({user.op}) cannot read"
                raise UserError(f"node {node.name!r} adds maps of several scales, which {reader}")

    def _window(self, node: Node) -> int:
        """How many values an average pooling adds, which must be the same everywhere."""
        a, size = node.attrs, self._sizes[node.inputs[0]][2:]
        if node.op != "avg_pool":
            return math.prod(size)
        for k, out in enumerate(self._sizes[node.name][2:]):
            whole = (size[k] + 2 * a["padding"][k] - a["kernel"][k]) // a["stride"][k] + 1
            if out > whole or (a["padding"][k] and not a["count_include_pad"]):
                problem = "divides by fewer values at the border (ceil_mode, count_include_pad)"
                raise UserError(f"node {node.name!r} (avg_pool) {problem}: use a method of T steps")
        return math.prod(a["kernel"])

    def _weights(self, node: Node, given: Unit) -> Unit:
        weight, bias = self._graph.parameters(node)
        assert weight is not None
        groups = node.attrs.get("groups", 1)
        levels, step = levels_and_step(fold(weight.double(), given.scale, groups), BITS)
        zero_points = on_grid(given.bias / given.scale)
        size = self._sizes[node.inputs[0]][2:]
        border = Border.of(levels, node.attrs, zero_points, size)
        convolution = WholeConvolution(levels, node.attrs, given.largest, border)
        self.convolutions[node.name] = convolution
        known = at_every_input(levels, zero_points, groups) * step
        if bias is not None:
            known = known + bias.double()
        return Unit(step, known, convolution.most)

    def _product(self, node: Node, given: Sequence[Unit]) -> Unit:
        """The unit of products of two maps; `tied` gives their neurons one scale per head."""
        left, right = (unit.scale for unit in given)
        each = len(right) // node.attrs["heads"]
        if node.op == "attention_scores":
            scale, added = left[::each] * right[::each], each
        else:
            scale = left.repeat_interleave(each) * right
            added = self._sizes[node.inputs[0]][-1]
        return Unit.of(scale, added * given[0].largest * given[1].largest)

    def _layer(self, node: Node) -> Unit:
        own, phi = self._neurons[node.name], node.phi.continuous
        read = [self.units[name] for name in terms(self._graph, node.inputs[0])]
        count = len(read[0].scale)
        theta, initial = (own[key].double().expand(count) for key in ("theta", "initial"))
        nothing = torch.zeros(count, dtype=torch.float64)
        bias = sum((one.bias for one in read), own.get("bias", nothing).double())
        rest = on_grid(own.get("rest", nothing).double().expand(count))
        unit = theta if phi.monotone else torch.ones_like(theta)
        self.layers[node.name] = WholeLayer(
            phi,
            self._settings,
            tuple([(one.scale / unit).float() for one in read]),
            (bias / unit).float(),
            (1 / theta).float(),
            (initial - 0.5 - rest).float(),
            None if phi.cap is None else (phi.cap / theta).float(),
        )
        largest = LARGEST if self._settings.kind == "sigma-delta" else self._settings.gamma
        return Unit(theta, rest * theta, largest)


def moved(value: Any, device: torch.device) -> Any:
    """A value whose tensors are on another device, in float32: not all devices have float64."""
    if torch.is_tensor(value):
        return (value.float() if value.is_floating_point() else value).to(device)
    if isinstance(value, dict):
        return {name: moved(one, device) for name, one in value.items()}
    if isinstance(value, tuple):
        return tuple([moved(one, device) for one in value])
    if isinstance(value, WholeConvolution | Border | WholeLayer):
        result = copy(value)
        result.__dict__.update(moved(vars(value), device))
        return result
    return value


def on_grid(rest: Tensor) -> Tensor:
    """Zero points, as multiples of 1 / PARTS: their weighted sums are exact in float64."""
    return (rest * PARTS).round() / PARTS


def tied(graph: Graph, neurons: NeuronParameters) -> NeuronParameters:
    """The neurons, with one theta per head where their products are summed: queries and keys."""
    result = dict(neurons)
    for node in graph.nodes:
        if node.op != "attention_scores":
            continue
        for name in node.inputs:
            theta = neurons[name]["theta"]
            if theta.numel() > 1:
                heads = theta.unflatten(0, (node.attrs["heads"], -1))
                one = heads.amax(1, keepdim=True).expand_as(heads).flatten()
                result[name] = with_theta(neurons[name], one)
    return result


def centred(graph: Graph, neurons: NeuronParameters) -> NeuronParameters:
    """The neurons, without zero points where a map is padded outside of convolutions: what is added
    there is 0, and not the zero point of a channel.
    """
    result = dict(neurons)
    for node in graph.nodes:
        if node.op == "pad" or (node.op == "avg_pool" and any(node.attrs["padding"])):
            for name in _senders(graph, graph[node.inputs[0]]):
                result[name] = {key: x for key, x in neurons[name].items() if key != "rest"}
    return result


def _senders(graph: Graph, node: Node) -> Iterator[str]:
    """The layers of neurons whose events a node hands on."""
    if node.op == "activation":
        yield node.name
    elif not node.multiplies:
        for name in node.inputs:
            yield from _senders(graph, graph[name])


def with_theta(parameters: Mapping[str, Tensor], theta: Tensor) -> Mapping[str, Tensor]:
    """The parameters of a layer at another theta; its zero point keeps its value."""
    changed = {**parameters, "theta": theta}
    if "rest" in parameters:
        changed["rest"] = parameters["rest"] * (parameters["theta"] / theta)
    return changed
