"""One timestep of rate coding, with the potentials of all neurons as its states.

The neurons are those of the simulator: their own `step` is what is exported, on rows of channels.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Size, Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node, shapes
from spiking_yolo.io import names
from spiking_yolo.onnx import operators
from spiking_yolo.onnx.steps import CLOCK, Neurons, Stepped, Synapses
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.layout import rows, spread
from spiking_yolo.snn.neurons import NeuronLayer, build_neurons
from spiking_yolo.snn.plan import NetworkPlan, SimulationOptions, readout_sources
from spiking_yolo.snn.pooling import events_of
from spiking_yolo.snn.state import Buffers, Clock, leaves, map_tree


class RateStep:
    """See Step. Its outputs are the means over the steps so far.

    Args:
        graph: The ANN.
        imgsz: Of the input.
        neurons: Parameters by activation.
        recipe: The method.

    Raises:
        UserError: It is no rate coding, or draws random numbers.
    """

    def __init__(self, graph: Graph, imgsz: names.Size, neurons: Neurons, recipe: Recipe):
        _check(recipe)
        self._plan = NetworkPlan.of(graph, neurons, recipe)
        self.graph = self._plan.graph
        self._neurons = neurons
        self._recipe = recipe
        self._synapses = Synapses(self.graph, neurons)
        self.by_channel = self._plan.sliced
        self._outputs = sorted(readout_sources(self.graph, self._plan.readout))
        self._layers: dict[str, NeuronLayer] = {}
        self._parameters: dict[str, Any] = {}
        # Poolings of currents that change, whose running sum is a state.
        self._pools = {
            node.name
            for node in self.graph.nodes
            if node.op == "max_pool" and node.name not in self._plan.constant
        }
        self.senders = tuple(
            node.name
            for node in self.graph.nodes
            if node.op == "activation"
            or (node.name in self._pools and node.name not in self._plan.sums.values())
        )
        sizes = shapes(self.graph, *imgsz)
        some = next(iter(graph.tensors.values()))
        states = {CLOCK: Size([1])}
        for node in self.graph.nodes:
            if node.name in self._pools:
                states[f"{node.name}.sum"] = sizes[node.inputs[0]]
            elif node.op == "activation":
                layer = self._layer(node)
                channels, *places = sizes[node.name][1:]
                like = some.new_zeros(1, channels)
                self._layers[node.name] = layer
                self._parameters[node.name] = layer.step_parameters(like)
                layer.bind(self._parameters[node.name])
                for path in _leaves(_new_state(layer, like), layer):
                    states[f"{node.name}.{path}"] = Size([1, *places, channels])
        self._single = {name for name, layer in self._layers.items() if layer.sends_at_most_one}
        for name in self._outputs:
            states[f"{name}.output"] = sizes[name]
        self.states: Mapping[str, Size] = states

    def _layer(self, node: Node) -> NeuronLayer:
        """The neurons of an activation, as the simulator has them."""
        plan = self._plan.layer(node.name, SimulationOptions(), torch.float32)
        plan = replace(plan, observed=False, constant=False)
        return build_neurons(self._neurons[node.name], self._recipe, node.phi, plan)

    def __call__(self, x: Tensor, states: Mapping[str, Tensor]) -> Stepped:
        t = states[CLOCK]
        following = {CLOCK: t + 1}
        events: dict[str, Tensor] = {}
        values: dict[str, Tensor] = {}
        for node in self._plan.stepped:
            inputs = [values[name] for name in node.inputs]
            if node.op == "input":
                value = x
            elif node.op == "activation":
                value = self._fired(node, inputs[0], states, following, events)
            elif node.name in self._pools:
                value = self._pooled(node, inputs[0], states, following, events)
            else:
                value = self._synapses(node, inputs)
            values[node.name] = value
        skip = self._recipe.readout.skip
        means: dict[str, Tensor] = {}
        for name in self._outputs:
            key = f"{name}.output"
            value = values[name]
            following[key] = states[key] + (value * (t >= skip) if skip else value)
            means[name] = following[key] / (t + 1 - skip).clamp(min=1)
        for node in self._plan.readout:
            means[node.name] = self._synapses(node, [means[name] for name in node.inputs])
        outputs = self._synapses.outputs(means, self._neurons)
        if skip:
            outputs = [output * (t >= skip) for output in outputs]
        return Stepped(outputs, following, events)

    def _pooled(
        self,
        node: Node,
        value: Tensor,
        states: Mapping[str, Tensor],
        following: dict[str, Tensor],
        events: dict[str, Tensor],
    ) -> Tensor:
        """The change of the pooled sum; the sum itself for neurons that read it."""
        key = f"{node.name}.sum"
        following[key] = states[key] + value
        pooled = self._synapses(node, [following[key]])
        if node.name not in self.senders:
            return pooled
        change = pooled - self._synapses(node, [states[key]])
        spikes = events_of(change, node.inputs[0] not in self._single)
        by_channel = node.name in self.by_channel
        events[node.name] = operators.count_events(spikes, False, by_channel)
        return change

    def _fired(
        self,
        node: Node,
        z: Tensor,
        states: Mapping[str, Tensor],
        following: dict[str, Tensor],
        events: dict[str, Tensor],
    ) -> Tensor:
        """What a layer sends, in thetas, [N, C, ...]."""
        layer = self._layers[node.name]
        current = self._synapses.analogue(node.inputs[0], z)
        lines = rows(current)

        def as_map(values: Tensor) -> Tensor:
            """Rows as a map with its channels last."""
            return values.reshape(current.shape[0], *current.shape[2:], -1)

        shape = current.shape
        parameters = map_tree(lambda value: spread(value, shape), self._parameters[node.name])
        begin = _new_state(layer, lines)
        # PyTorch's exporter takes a copy that broadcasts for one that does not.
        whole = map_tree(lambda value: value.expand(lines.shape), parameters)
        layer.start(begin, whole, lines, Buffers())
        at_first = _leaves(begin, layer)
        state = _new_state(layer, lines)
        first = states[CLOCK] == 0
        for path, leaf in _leaves(state, layer).items():
            before = states[f"{node.name}.{path}"].reshape(lines.shape).to(leaf)
            leaf.copy_(torch.where(first, at_first[path], before))
        counted = _counts(layer, state)
        sent = self._emitted(layer, state, parameters, lines, states[CLOCK])
        counts = _counts(layer, state) - counted
        events[node.name] = as_map(counts.float()).movedim(-1, 1)
        for path, leaf in _leaves(state, layer).items():
            following[f"{node.name}.{path}"] = as_map(leaf.to(lines))
        return as_map(sent).movedim(-1, 1)

    def _emitted(
        self, layer: NeuronLayer, state: Any, parameters: Any, z: Tensor, t: Tensor
    ) -> Tensor:
        """One step of the neurons; MSAT's threshold adapts from the second on."""
        if not self._recipe.msat.enabled:
            return layer.emit(state, parameters, z, Clock(t, t + 1, 1.0, False), Buffers())
        other = map_tree(torch.clone, state)
        at_first = layer.emit(other, parameters, z, Clock(0, 1, 1.0, True), Buffers())
        clock = Clock(t.clamp(min=1), t + 1, 1.0, False)
        later = layer.emit(state, parameters, z, clock, Buffers())
        for leaf, leaf_at_first in zip(leaves(state), leaves(other), strict=True):
            leaf.copy_(torch.where(t == 0, leaf_at_first, leaf))
        return torch.where(t == 0, at_first, later)


def _new_state(layer: NeuronLayer, like: Tensor) -> Any:
    return layer.new_state(like.shape, like, like.dtype)


def _leaves(tree: Any, layer: NeuronLayer) -> dict[str, Tensor]:
    """The tensors of a layer's state by path, without counts, which are of one step here.

    A cap on the sum of what is sent needs the spikes so far.
    """
    found: dict[str, Tensor] = {}
    for field in fields(tree):
        value = getattr(tree, field.name)
        if is_dataclass(value):
            for path, leaf in _leaves(value, layer).items():
                found[f"{field.name}.{path}"] = leaf
        elif field.name == "count" and layer.phi.cap is None:
            pass
        elif value is not None and field.name not in ("events", "switches"):
            found[field.name] = value
    return found


def _counts(layer: NeuronLayer, state: Any) -> Tensor:
    """The three Counts of a layer's state, [n, 3 or 3 C]."""
    layer.state = state
    return torch.cat(layer.counts, 1).clone()


def _check(recipe: Recipe) -> None:
    """Raise UserError for a method that is not one timestep of rate coding."""
    way = "use --method signed-digits, or a rate-coded one such as p-norm"
    if recipe.encoding.coding == "differential":
        raise UserError(
            f"{recipe.name} sends changes over several timesteps, which is no one step: {way}"
        )
    if recipe.encoding.input != "analogue":
        raise UserError(f"encoding.input={recipe.encoding.input} draws random numbers: {way}")
    if recipe.preparation.timesteps:
        raise UserError(f"{recipe.name} prepares its neurons for an image, which is no step: {way}")
    if recipe.msat.confidence != "off":
        raise UserError(f"msat.confidence={recipe.msat.confidence} draws random numbers: {way}")
