"""The step of methods that send complete values: a photograph at T = 1, or a frame of a video.

Every layer sends all that is due at once. So what it has sent by the end of a step is a function of
the image: of earlier steps it needs to know what was sent, not what was received.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Size, Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph import OPS, Graph, Node, forward, shapes
from spiking_yolo.io import names
from spiking_yolo.onnx import operators
from spiking_yolo.recipe import MAX_GAMMA, Recipe
from spiking_yolo.snn import units
from spiking_yolo.snn.layout import per_channel
from spiking_yolo.snn.plan import NetworkPlan
from spiking_yolo.snn.pooling import events_of

# The state that counts the steps before this one, [1].
CLOCK = "frames"
# The state that is the image as transmitted so far, where encoding.tau leaves pixels out.
IMAGE = "image"

Neurons = Mapping[str, Mapping[str, Tensor]]

# Neurons of which a value that is out of reach is clipped, and not sent later.
CLIPPED = ("few-spikes", "multi-level")


def sends_complete_values(recipe: Recipe) -> bool:
    """Whether a layer sends all that is due in every step."""
    neuron = recipe.neuron
    if not recipe.differential:
        return False
    if neuron.kind in CLIPPED:
        return True
    return neuron.kind == "sigma-delta" and neuron.events == "digits" and neuron.gamma == MAX_GAMMA


@dataclass(frozen=True)
class Stepped:
    """What a step returns.

    Attributes:
        outputs: Heads in the units of the ANN.
        states: The states by name, for the next step.
        events: Node that sends events -> the Counts of this step at each position, [N, 3, ...],
            or by channel, [N, 3 C, ...], where a slice of them is taken.
    """

    outputs: Sequence[Tensor]
    states: Mapping[str, Tensor] = field(default_factory=dict)
    events: Mapping[str, Tensor] = field(default_factory=dict)


class AnnStep:
    """The forward pass of the ANN: a step that keeps no state and sends no events.

    Attributes:
        graph: As it is computed.
        states: Name -> shape for one image, [1, C, ...], of what the step keeps; CLOCK, of all
            images, is [1] and the first. All are zeros before the first step.
        senders: The nodes that send events.
        by_channel: Those whose events are counted by channel.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.states: Mapping[str, Size] = {}
        self.senders: tuple[str, ...] = ()
        self.by_channel: frozenset[str] = frozenset()

    def __call__(self, x: Tensor, states: Mapping[str, Tensor]) -> Stepped:
        """One step of images, [N, 3, H, W]; states: by name."""
        return Stepped(forward(self.graph, x))


class CompleteStep(AnnStep):
    """The step of a spiking network whose layers send complete values.

    Args:
        graph: The ANN.
        imgsz: Size of the input.
        neurons: Parameters by activation.
        recipe: The method, which sends complete values.
        stateful: Whether the next image may be a frame of the same video.
    """

    def __init__(
        self, graph: Graph, imgsz: names.Size, neurons: Neurons, recipe: Recipe, stateful: bool
    ):
        plan = NetworkPlan.of(graph, neurons, recipe)
        super().__init__(plan.graph)
        self._neurons = neurons
        self._recipe = recipe
        self._binary = recipe.neuron_kind.events == "digits"
        thetas = {node.name: neurons[node.name]["theta"] for node in self.graph.activations}
        self._units = units.propagate(self.graph, thetas)
        # Of layers with weights, which take values in thetas.
        self._weights: dict[str, Tensor] = {}
        self._biases: dict[str, Tensor | None] = {}
        for node in self.graph.weighted:
            weight, bias = self.graph.parameters(node)
            assert weight is not None
            unit = self._units[node.inputs[0]]
            self._weights[node.name] = units.fold(weight, unit, node.attrs.get("groups", 1))
            self._biases[node.name] = bias
        self.by_channel = plan.sliced
        resting = {
            node.name: neurons[node.name]["rest"]
            for node in self.graph.activations
            if "rest" in neurons[node.name]
        }
        # What each node passes on without an event, [C], in thetas.
        self._rests = units.at_rest(self.graph, resting, self._units)
        pools = [node.name for node in self.graph.nodes if node.op == "max_pool"]
        self._pools = frozenset(pools) - set(plan.sums.values())
        self.senders = tuple(
            node.name
            for node in self.graph.nodes
            if node.op == "activation" or node.name in self._pools
        )
        self._divided = self._divide_by_theta()
        if stateful and recipe.neuron.busy:
            raise UserError(
                "neuron.busy follows the operations of each frame, which a graph does not know:"
                " --set neuron.busy=0"
            )
        if stateful:
            sizes = shapes(self.graph, *imgsz)
            states = {CLOCK: Size([1])} | {name: sizes[name] for name in self.senders}
            if recipe.encoding.tau:
                states[IMAGE] = Size([1, 3, *imgsz])
            self.states = states

    def _divide_by_theta(self) -> set[str]:
        """Let layers with weights deliver in thetas to the neurons that alone read them, with the
        calibrated bias; returns these activations.
        """
        users = self.graph.consumers()
        divided: set[str] = set()
        for node in self.graph.activations:
            phi = node.phi
            layer = self.graph[node.inputs[0]]
            chain = [layer.name]
            while layer.op == "max_pool":
                layer = self.graph[layer.inputs[0]]
                chain.append(layer.name)
            alone = all(len(users[name]) == 1 for name in chain)
            # Events of a pooling are counted in the units of the ANN.
            seen = not set(chain).isdisjoint([*self.graph.outputs, *self._pools])
            if not (layer.weighted and alone and phi.monotone) or seen:
                continue
            theta, bias = self._neurons[node.name]["theta"], self._neurons[node.name].get("bias")
            weight, own = self._weights[layer.name], self._biases[layer.name]
            theta = theta.to(weight)
            if own is None:
                own = bias
            elif bias is not None:
                own = own + bias.to(weight)
            if own is not None:
                own = own.to(weight) / theta
            by_output = theta.reshape(-1, *[1] * (weight.ndim - 1))
            self._weights[layer.name], self._biases[layer.name] = weight / by_output, own
            divided.add(node.name)
        return divided

    def __call__(self, x: Tensor, states: Mapping[str, Tensor]) -> Stepped:
        following: dict[str, Tensor] = {}
        later = None
        if states:
            following[CLOCK] = states[CLOCK] + 1
            later = (states[CLOCK] > 0).to(x)
            if IMAGE in states:
                tau = self._recipe.encoding.tau
                x = following[IMAGE] = transmitted(x, states[IMAGE], tau, later)
        values: dict[str, Tensor] = {}
        events: dict[str, Tensor] = {}
        for node in self.graph.nodes:
            inputs = [values[name] for name in node.inputs]
            if node.name not in self.senders and node.op == "input":
                value = x
            elif node.name not in self.senders:
                value = self._linear(node, inputs)
            else:
                before = states.get(node.name)
                if node.op == "activation":
                    n = self._fired(node, inputs[0], before, later)
                    spikes, total = n.abs(), n
                    if before is not None:
                        total = n + before
                    value = self._with_rest(node.name, total)
                else:
                    value = self._linear(node, inputs)
                    sent = total = self._with_rest(node.name, value, -1)
                    if before is not None:
                        sent = total - before
                    spikes = events_of(sent)
                if states:
                    following[node.name] = total
                by_channel = node.name in self.by_channel
                events[node.name] = operators.count_events(spikes, self._binary, by_channel)
            values[node.name] = value
        outputs = [self._output(name, values[name]) for name in self.graph.outputs]
        return Stepped(outputs, following, events)

    def _linear(self, node: Node, inputs: Sequence[Tensor]) -> Tensor:
        """The output of a node without neurons, in thetas where all that it reads is."""
        if node.weighted:
            weight, bias = self._weights[node.name], self._biases[node.name]
            return OPS[node.op](node.attrs, weight, bias, *inputs)
        if self._units[node.name] is None:
            inputs = [self._analogue(*each) for each in zip(node.inputs, inputs, strict=True)]
        return OPS[node.op](node.attrs, None, None, *inputs)

    def _analogue(self, name: str, value: Tensor) -> Tensor:
        """The value of a node in the units of the ANN."""
        unit = self._units[name]
        if unit is None:
            return value
        return value * per_channel(unit, value)

    def _output(self, name: str, value: Tensor) -> Tensor:
        """A head with its calibrated correction; an activation has added its own."""
        head, own = self._analogue(name, value), self._neurons.get(name, {})
        if self.graph[name].op != "activation" and "bias" in own:
            head = head + per_channel(own["bias"], head)
        return head

    def _with_rest(self, name: str, value: Tensor, sign: int = 1) -> Tensor:
        rest = self._rests[name]
        if rest is None:
            return value
        return value + sign * per_channel(rest, value)

    def _fired(self, node: Node, z: Tensor, before: Tensor | None, later: Tensor | None) -> Tensor:
        """The number n of thetas that each neuron sends, which may be negative.

        before: What it has sent so far, without its value at rest. later: 0 in the first step, 1
        afterwards.
        """
        own, settings = self._neurons[node.name], self._recipe.neuron
        due = self._due(node, z)
        initial = per_channel(own["initial"], due)
        if settings.kind in CLIPPED:
            value = (due.abs() + initial).floor().clamp(max=settings.gamma) * due.sign()
            if before is not None:
                value = value - before
            return value
        start, rest = initial - 0.5, self._rests[node.name]
        if rest is not None:
            start = start - per_channel(rest, due)
        due = due + start
        if before is not None:
            due = due - before
        n = operators.digit_saving_round(due, settings.slack)
        if later is not None and settings.hysteresis:
            n = n * (due.abs() >= 0.5 + settings.hysteresis * later).to(n)
        return n

    def _due(self, node: Node, z: Tensor) -> Tensor:
        """phi of what is received, in thetas."""
        own = self._neurons[node.name]
        theta = per_channel(own["theta"], z)
        phi = node.phi.continuous
        if node.name in self._divided:
            due = nn.functional.leaky_relu(z, phi.slope)
            if phi.cap is not None:
                due = torch.minimum(due, phi.cap / theta)
            return due
        if phi.softmax:
            z = phi(z)
        if "bias" in own:
            z = z + per_channel(own["bias"], z)
        if not phi.softmax:
            z = phi(z)
        return z / theta


def transmitted(x: Tensor, before: Tensor, tau: float, later: Tensor) -> Tensor:
    """The image as transmitted: see snn.coding.pixel_change. later: 0 for the first one, else 1."""
    changed = ((x - before).abs() > tau).any(1, keepdim=True) | (later == 0)
    return torch.where(changed, x, before)
