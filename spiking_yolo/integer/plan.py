"""The plan of a network of whole numbers: what is computed, step by step, of which parts of which
maps, and by which kernel. `execute` runs it in PyTorch, `Program` in C.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node, shapes
from spiking_yolo.graph.rewrites import distribute_sums, terms
from spiking_yolo.integer.convolution import WholeConvolution
from spiking_yolo.integer.library import has_cells_of_bytes
from spiking_yolo.integer.neuron import LARGEST, WholeLayer
from spiking_yolo.integer.parameters import NetworkParameters
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import Recipe
from spiking_yolo.spikes.counting import count_binary_digits, count_digits
from spiking_yolo.spikes.layout import NeuronParameters
from spiking_yolo.spikes.operations import spiking
from spiking_yolo.spikes.plan import NetworkPlan, of_segments, segments

# events: adds what changes, by groups of four channels. direct: computed anew at the positions that
# changes reach. depthwise: the same for a channel each. reference: PyTorch, at all positions.
Kernel = Literal["events", "direct", "depthwise", "reference"]
# A layer whose outputs read so few inputs has more to do with events than without: where products
# are of bytes, and where they are of 16 bits.
FEW_INPUTS = {True: 600, False: 144}
# Maps that neurons add up in C, at most.
TERMS = 3
# Rows of a window of sums in C, at most.
ROWS = 64
# Sums of a program in C are whole numbers of 32 bits.
LARGEST_SUM = 2**31 - 1


@dataclass(frozen=True)
class Part:
    """A run of channels that a layer reads of the image, or of what neurons or a pooling have sent.

    Attributes:
        source: The node that has sent them.
        first, channels: Where the run begins there, and its length.
        scale: How often each row and column is repeated, as upsampling does.
    """

    source: str
    first: int
    channels: int
    scale: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Convolution:
    """A convolution or linear layer.

    Attributes:
        node: Its node in the graph.
        whole: Its weights, and what its border lacks.
        parts: What it reads, in order; None where that is more than runs of channels.
        kernel: What computes it in C.
    """

    node: Node
    whole: WholeConvolution
    parts: tuple[Part, ...] | None
    kernel: Kernel


@dataclass(frozen=True)
class Neurons:
    """A layer of neurons.

    Attributes:
        node: Its node in the graph.
        layer: Its parameters.
        terms: The nodes whose sum it reads.
        parts: For each term the runs of channels that it hands on, or None; see `parts_of`.
        pool: The max pooling of sums that it reads, which it can do itself.
        in_c: Whether program.c has such neurons.
    """

    node: Node
    layer: WholeLayer
    terms: tuple[str, ...]
    parts: tuple[tuple[Part, ...] | None, ...]
    pool: Node | None
    in_c: bool


@dataclass(frozen=True)
class Pooling:
    """Max pooling of what neurons have sent, whose maxima travel.

    Attributes:
        node: Its node in the graph.
        part: What it pools; None where that is more than a run of channels of one map.
    """

    node: Node
    part: Part | None


@dataclass(frozen=True)
class Product:
    """The product of two maps in attention.

    Attributes:
        node: Its node in the graph.
        parts: The maps, where each is a run of channels of one that was sent.
    """

    node: Node
    parts: tuple[Part | None, Part | None]


@dataclass(frozen=True)
class Other:
    """The image, or what is moved, added or averaged."""

    node: Node


Step = Convolution | Neurons | Pooling | Product | Other


@dataclass(frozen=True)
class Plan:
    """A network of whole numbers, for images of one size.

    Attributes:
        steps: The steps in order; each reads what earlier ones have computed.
        parameters: All numbers.
        sizes: Shape of every node's output, [1, C, ...].
        input: The image's node.
        outputs: Output -> the nodes that it is the sum of.
        senders: The nodes that send events: neurons and max poolings of what those have sent.
        counted: The network as its events are counted, whose slices take segments of channels.
        ends: Sender -> where each of its segments of channels ends.
        digits: How many digits whole numbers have that are not 0.
    """

    steps: tuple[Step, ...]
    parameters: NetworkParameters
    sizes: Mapping[str, torch.Size]
    input: str
    outputs: Mapping[str, Sequence[str]]
    senders: tuple[str, ...]
    counted: Graph
    ends: Mapping[str, Sequence[int]]
    digits: Callable[[Tensor], Tensor]

    def step(self, name: str) -> Step:
        """The step that computes a node."""
        return next(step for step in self.steps if step.node.name == name)

    def map(self, f: Callable[[Step], Step]) -> "Plan":
        """The plan with f of each step in its place."""
        return replace(self, steps=tuple(map(f, self.steps)))


def compile(
    graph: Graph,
    neurons: NeuronParameters,
    recipe: Recipe,
    spec: Spec,
    device: torch.device | str = "cpu",
) -> Plan:
    """The plan of a network.

    Args:
        graph: The ANN.
        neurons: Activation -> theta, initial and perhaps bias and rest of its neurons, [C] each;
            output -> bias.
        recipe: The method, whose layers send complete values.
        spec: Its interface, with the size of images.
        device: Where its numbers lie.

    Raises:
        UserError: The network has no neurons, a sum of maps that is read by other than neurons and
            layers, or average pooling whose windows reach beyond the map.
    """
    if not graph.activations:
        raise UserError("the network has no activation, such as ReLU, where neurons could spike")
    order = NetworkPlan(graph, recipe)
    sizes = shapes(order.graph, spec.height, spec.width)
    computed = distribute_sums(order.graph, sizes)
    sizes |= shapes(computed, spec.height, spec.width)
    parameters = NetworkParameters(computed, neurons, recipe.neuron, spec)
    parameters = parameters.to(torch.device(device))
    carrying = spiking(computed, parameters.layers)
    senders: list[str] = []
    for node in computed.nodes:
        if node.op == "activation" or (node.op == "max_pool" and node.name in carrying):
            senders.append(node.name)
    channels = {name: size[1] for name, size in sizes.items()}
    ends = segments(order.graph, channels, senders, order.sliced)
    steps: list[Step] = []
    for node in computed.nodes:
        steps.append(_step(node, computed, parameters, sizes, senders, order.sums))
    digits = count_digits
    if recipe.neuron_kind.events == "digits":
        digits = count_binary_digits
    return Plan(
        tuple(steps),
        parameters,
        sizes,
        computed.nodes[0].name,
        {name: terms(computed, name) for name in computed.outputs},
        tuple(senders),
        of_segments(order.graph, ends),
        ends,
        digits,
    )


def _step(
    node: Node,
    graph: Graph,
    parameters: NetworkParameters,
    sizes: Mapping[str, torch.Size],
    senders: Collection[str],
    sums: Mapping[str, str],
) -> Step:
    """The step of a node. This is where a layer's kernel is chosen."""
    origins = {name for name in senders if parameters.units[name].largest <= LARGEST}
    origins.add(graph.nodes[0].name)
    if node.weighted:
        parts = parts_of(graph, node.inputs[0], sizes, origins)
        whole = parameters.convolutions[node.name]
        kernel = _kernel(node, whole, parts, graph.nodes[0].name)
        return Convolution(node, whole, parts, kernel)
    if node.op == "activation":
        read, layer = tuple(terms(graph, node.inputs[0])), parameters.layers[node.name]
        pool = graph[node.inputs[0]]
        plain = layer.settings.kind == "sigma-delta" and not layer.phi.softmax
        in_c = plain and len(read) <= TERMS and len(sizes[node.name]) == 4
        in_c = in_c and max(parameters.units[name].largest for name in read) <= LARGEST_SUM
        alone = node.name in sums and graph[pool.inputs[0]].op == "conv"
        alone = alone and pool.attrs["kernel"][0] <= ROWS
        parts = tuple([parts_of(graph, name, sizes, origins) for name in read])
        return Neurons(node, layer, read, parts, pool if alone else None, in_c)
    if node.op == "max_pool" and node.name in senders:
        return Pooling(node, single(parts_of(graph, node.inputs[0], sizes, origins)))
    if node.product:
        left, right = (single(parts_of(graph, name, sizes, origins)) for name in node.inputs)
        return Product(node, (left, right))
    return Other(node)


def single(parts: tuple[Part, ...] | None) -> Part | None:
    """The only run of channels that something is, as it was sent; None where it is more."""
    if parts is None or len(parts) != 1 or parts[0].scale != (1, 1):
        return None
    return parts[0]


def _kernel(
    node: Node, whole: WholeConvolution, parts: tuple[Part, ...] | None, image: str
) -> Kernel:
    """What computes a layer with weights in C."""
    if node.op != "conv" or parts is None or whole.most > LARGEST_SUM:
        return "reference"
    groups, one = node.attrs["groups"], len(parts) == 1
    if groups > 1:
        each = len(whole.levels) == groups == parts[0].channels
        if one and each and parts[0].scale == (1, 1):
            return "depthwise"
        return "direct" if one else "reference"
    few = whole.levels[0].numel() <= FEW_INPUTS[has_cells_of_bytes()]
    if few or any(part.source == image for part in parts):
        return "direct"
    return "events"


def parts_of(
    graph: Graph, name: str, sizes: Mapping[str, torch.Size], origins: Collection[str]
) -> tuple[Part, ...] | None:
    """The runs of channels of `origins` that a node hands on; None if it does something else."""
    node = graph[name]
    if name in origins:
        return (Part(name, 0, sizes[name][1]),) if len(sizes[name]) == 4 else None
    sources = [parts_of(graph, source, sizes, origins) for source in node.inputs]
    parts: list[Part] = []
    for source in sources:
        if source is None:
            return None
        parts += source
    if node.op == "concat":
        return tuple(parts)
    if node.op == "upsample":
        down, right = map(int, node.attrs["scale"])
        if sizes[name][2:] != (sizes[node.inputs[0]][2] * down, sizes[node.inputs[0]][3] * right):
            return None
        return tuple([replace(p, scale=(p.scale[0] * down, p.scale[1] * right)) for p in parts])
    if node.op == "slice" and sizes[name][2:] == sizes[node.inputs[0]][2:]:
        chosen = range(sizes[node.inputs[0]][1])[slice(*node.attrs["slices"][0])]
        return _run(parts, chosen) if chosen.step == 1 else None
    return None


def _run(parts: Sequence[Part], chosen: range) -> tuple[Part, ...]:
    """The parts of some of the channels that are joined in `parts`."""
    found: list[Part] = []
    begin = 0
    for part in parts:
        first, last = max(chosen.start, begin), min(chosen.stop, begin + part.channels)
        if first < last:
            found.append(replace(part, first=part.first + first - begin, channels=last - first))
        begin += part.channels
    return tuple(found)
