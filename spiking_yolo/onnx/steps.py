"""What is exported: the step of a network as a function of tensors, and the states that it keeps.

A state is an input and an output of the step, and all zeros before the first one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Size, Tensor

from spiking_yolo.graph import OPS, Graph, Node, forward
from spiking_yolo.snn import units
from spiking_yolo.snn.layout import per_channel

# The state that counts the steps before this one, [1].
CLOCK = "frames"
Neurons = Mapping[str, Mapping[str, Tensor]]


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


class Step(Protocol):
    """A network as a function of images, [N, 3, H, W], and its states by name.

    graph: As it is computed. states: The shape of each state for one image, [1, C, ...]; CLOCK is
    [1] for all images, and the first. senders: The nodes that send events. by_channel: Those whose
    events are counted by channel.
    """

    graph: Graph
    states: Mapping[str, Size]
    senders: tuple[str, ...]
    by_channel: frozenset[str]

    def __call__(self, x: Tensor, states: Mapping[str, Tensor]) -> Stepped: ...


class AnnStep:
    """The forward pass of the ANN, which keeps no state and sends no events."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.states: Mapping[str, Size] = {}
        self.senders: tuple[str, ...] = ()
        self.by_channel: frozenset[str] = frozenset()

    def __call__(self, x: Tensor, states: Mapping[str, Tensor]) -> Stepped:
        return Stepped(forward(self.graph, x))


class Synapses:
    """All nodes but the neurons, of values in thetas: see snn.units.

    Args:
        graph: As it is simulated.
        neurons: Parameters of the neurons by activation.
    """

    def __init__(self, graph: Graph, neurons: Neurons):
        self.graph = graph
        thetas = {node.name: neurons[node.name]["theta"] for node in graph.activations}
        self.units = units.propagate(graph, thetas)
        self.weights: dict[str, Tensor] = {}
        self.biases: dict[str, Tensor | None] = {}
        for node in graph.weighted:
            weight, bias = graph.parameters(node)
            assert weight is not None
            unit = self.units[node.inputs[0]]
            self.weights[node.name] = units.fold(weight, unit, node.attrs.get("groups", 1))
            self.biases[node.name] = bias

    def __call__(self, node: Node, inputs: Sequence[Tensor]) -> Tensor:
        """The output of a node, in thetas where all that it reads is."""
        if node.weighted:
            weight, bias = self.weights[node.name], self.biases[node.name]
            return OPS[node.op](node.attrs, weight, bias, *inputs)
        if self.units[node.name] is None:
            inputs = [self.analogue(*each) for each in zip(node.inputs, inputs, strict=True)]
        return OPS[node.op](node.attrs, None, None, *inputs)

    def analogue(self, name: str, value: Tensor) -> Tensor:
        """The value of a node in the units of the ANN."""
        unit = self.units[name]
        return value if unit is None else value * per_channel(unit, value)

    def outputs(self, values: Mapping[str, Tensor], neurons: Neurons) -> list[Tensor]:
        """The heads with their calibrated corrections."""
        heads: list[Tensor] = []
        for name in self.graph.outputs:
            head = self.analogue(name, values[name])
            # An output that is an activation has added its correction itself.
            if self.graph[name].op != "activation" and "bias" in neurons.get(name, {}):
                head = head + per_channel(neurons[name]["bias"], head)
            heads.append(head)
        return heads
