"""The costs of a run: multiply-accumulates of the ANN, synaptic operations of the SNN.

Both are cut at the borders: neither what a kernel multiplies with padding nor what a spike sends
beyond the map counts.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input

from spiking_yolo.graph import OPS, Graph, Node, layer_before, layer_labels, product_fan_out, shapes
from spiking_yolo.spikes.counting import Counts

# Node -> shape of its output, [N, C, ...]; sender -> shape of its events.
Sizes = Mapping[str, Sequence[int]]


def fan_out(node: Node, weight: Tensor, height: int, width: int) -> Tensor:
    """Count the outputs that an event at each input position of a convolution reaches: [height,
    width]. Padding cuts them at the border, stride thins them.
    """
    a = node.attrs
    geometry = tuple(a["stride"]), tuple(a["padding"]), tuple(a["dilation"])
    return _fan_out((height, width), weight.shape[2:], *geometry) * (len(weight) // a["groups"])


@lru_cache(maxsize=1024)
@torch.inference_mode(False)
def _fan_out(size: tuple[int, int], kernel: tuple[int, int], *geometry: Any) -> Tensor:
    """The fan-out for one channel of outputs: the gradient of their sum, where every weight is
    one.
    """
    taps = torch.ones(1, 1, *kernel, dtype=torch.float64)
    outputs = F.conv2d(taps.new_ones(1, 1, *size), taps, None, *geometry)
    return conv2d_input((1, 1, *size), taps, torch.ones_like(outputs), *geometry)[0, 0]


def spiking(graph: Graph, senders: Collection[str]) -> set[str]:
    """The nodes whose output carries events and no analogue values (of the image, or a
    convolution's output).

    senders: of events, neurons and max pooling.
    """
    found: set[str] = set()
    for node in graph.nodes:
        analogue = node.op == "input" or node.multiplies
        moved = not analogue and found.issuperset(node.inputs)
        if node.name in senders or moved:
            found.add(node.name)
    return found


def events(graph: Graph, counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Events that each node which carries any has sent on, at each position of its output.

    counts: cumulative events of the senders, of all channels together or of each. Upsampling copies
    events. A convolution behind average pooling sees each event of the pooled window: what arrives
    is their sum. Adding delivers both operands'. A slice of channels needs the events of each.
    """
    arrived, carrying = dict(counts), spiking(graph, counts)
    for node in graph.nodes:
        if node.name in carrying and node.name not in counts:
            arrived[node.name] = _moved(node, [arrived[i] for i in node.inputs])
    return arrived


def _moved(node: Node, arrived: Sequence[Tensor]) -> Tensor:
    """Compute the events that a node without weights hands on."""
    if node.op == "add" and arrived[0].shape != arrived[1].shape:
        arrived = [events.sum(1, keepdim=True) for events in arrived]
    if node.op == "avg_pool":
        window = [node.attrs[name] for name in ("kernel", "stride", "padding", "ceil")]
        return F.avg_pool2d(arrived[0], *window, divisor_override=1)
    if node.op == "global_avg_pool":
        return arrived[0].sum((2, 3), keepdim=True)
    return OPS[node.op](node.attrs, None, None, *arrived)


def synaptic_operations(graph: Graph, node: Node, arrived: Tensor) -> Tensor:
    """Synaptic operations of one convolution or linear layer: every event times the outputs it
    reaches.

    arrived: events at its input, [N, C or 1, H, W], or [N, any]. Returns float64 [N].
    """
    weight = graph.tensors[f"{node.name}.weight"]
    if arrived.shape[1] == 1:
        # sum() would take six times as long.
        reaching = arrived[:, 0].double()
    else:
        reaching = arrived.sum(1, dtype=torch.float64)
    if node.op == "linear":
        return reaching * weight.shape[0]
    return reaching.flatten(1) @ fan_out(node, weight, *arrived.shape[2:]).to(reaching).flatten()


def product_operations(
    node: Node, arrived: Sequence[Tensor], shapes: Sequence[Sequence[int]], first: bool
) -> Tensor:
    """Synaptic operations of a product of two feature maps: an event of one operand adds values of
    the other, as a spike adds weights.

    In the first step the right operand, keys or values, is stored as weights are, and the events of
    the left one, queries or softmax, read it. Its changes afterwards meet all that they are
    multiplied with: d(QK) = dQ K + Q dK.

    Args:
        node: The product.
        arrived: Events of both operands, [N, C or 1, ...].
        shapes: Shapes of both operands, [N, C, ...].
        first: Whether these are the events of the first step.

    Returns:
        float64 [N].
    """
    left, right = (events.flatten(1).sum(1, dtype=torch.float64) for events in arrived)
    reach_of_left, reach_of_right = product_fan_out(node, shapes[1])
    if first:
        return left * reach_of_left
    return left * reach_of_left + right * reach_of_right


def operations_by_layer(
    graph: Graph, counts: Mapping[str, Tensor], shapes: Sizes, first: bool = False
) -> dict[str, Counts]:
    """Synaptic operations of each layer that receives events, float64 [N] in each counting.

    Args:
        graph: The network.
        counts: See `events`; the three countings of each sender as Counts.stacked.
        shapes: Shape of every node's output, [N, C, ...].
        first: Whether these are the events of the first step, see `product_operations`.
    """
    arrived = events(graph, counts)
    operations: dict[str, Counts] = {}
    for node in graph.layers:
        if not arrived.keys() >= set(node.inputs):
            continue
        if node.product:
            inputs = [arrived[name] for name in node.inputs]
            spent = product_operations(node, inputs, [shapes[name] for name in node.inputs], first)
        else:
            spent = synaptic_operations(graph, node, arrived[node.inputs[0]])
        operations[node.name] = Counts.unstacked(spent)
    return operations


def costs_of_events(
    graph: Graph, shapes: Sizes, sent: Sizes, first: bool = False, products: bool = False
) -> dict[str, Tensor]:
    """Synaptic operations that one event of each neuron causes, [1, C, ...] by sender.

    Operations are a linear function of the events, so these are its gradient.

    Args:
        graph: The network.
        shapes: Shape of every node's output, [N, C, ...].
        sent: Sender -> shape of its events, [C, ...]; of segments of channels that are counted
            together, how many these are in place of C.
        first: Whether it is the first step, in which products store their right operand.
        products: Operations in products of attention only.
    """
    with torch.inference_mode(False), torch.enable_grad():
        zeros = {name: torch.zeros(1, *size, requires_grad=True) for name, size in sent.items()}
        counts = {name: Counts.alike(zero).stacked() for name, zero in zeros.items()}
        # The total depends on every sender, also where no event reaches a weight.
        total = torch.stack([0.0 * zero.sum() for zero in zeros.values()]).sum()
        for name, operations in operations_by_layer(graph, counts, shapes, first).items():
            if graph[name].product or not products:
                total = total + operations.digits.sum()
        costs = torch.autograd.grad(total, list(zeros.values()), materialize_grads=True)
    return dict(zip(zeros, costs, strict=True))


class EventCosts:
    """The costs of the events of a network.

    Args:
        graph: The network.
        shapes: Shape of every node's output, [N, C, ...].
    """

    def __init__(self, graph: Graph, shapes: Sizes):
        self.graph, self.shapes = graph, shapes
        self.attention = any(node.product for node in graph.nodes)
        self._columns: dict[tuple[bool, str], dict[str, Tensor]] = {}

    def of(self, counts: Mapping[str, Tensor], first: bool = False) -> dict[str, Tensor]:
        """Sender -> its events, the operations that they cause, and those of them in products.

        Args:
            counts: See `operations_by_layer`; the senders are the same in every call.
            first: Whether these are the events of the first step.

        Returns:
            float64 [3 * N, 3], as Counts.stacked; [3 * N, 2] without attention.
        """
        sizes = {name: count.shape[1:] for name, count in counts.items()}
        spent: dict[str, Tensor] = {}
        device = next(iter(counts.values())).device
        for name, columns in self.columns(sizes, first, device).items():
            spent[name] = counts[name].flatten(1).double() @ columns
        return spent

    def columns(
        self, sizes: Sizes, first: bool, device: torch.device | str = "cpu"
    ) -> dict[str, Tensor]:
        """Sender -> of each of its events: 1, the operations that it causes, and those of them in
        products; float64 [n, 3], or [n, 2] without attention.

        Args:
            sizes: Sender -> shape of its events, as in `costs_of_events`.
            first: Whether these are the events of the first step.
            device: Where they are multiplied.
        """
        key = first, str(device)
        if key not in self._columns:
            kinds = [{name: torch.ones(torch.Size(size)) for name, size in sizes.items()}]
            for products in (False, True)[: 1 + self.attention]:
                kinds.append(costs_of_events(self.graph, self.shapes, sizes, first, products))
            columns: dict[str, Tensor] = {}
            for name in sizes:
                each = [kind[name].flatten().double() for kind in kinds]
                columns[name] = torch.stack(each, 1).to(device)
            # Threads share them, so they are set by one assignment.
            self._columns.setdefault(key, columns)
        return self._columns[key]


def macs(graph: Graph, node: Node, shapes: Sizes) -> int:
    """Multiply-accumulates of a layer for one image; shapes: of every output, [N, C, ...]."""
    shape = shapes[node.inputs[0]]
    if node.product:
        return math.prod(shape[1:]) * product_fan_out(node, shapes[node.inputs[1]])[0]
    weight = graph.tensors[f"{node.name}.weight"]
    if node.op == "linear":
        return weight.numel()
    reached = fan_out(node, weight, *shape[2:]).sum().item()
    return int(reached) * weight.shape[1] * node.attrs["groups"]


def total_macs(graph: Graph, shapes: Sizes, senders: Collection[str]) -> tuple[int, int]:
    """Multiply-accumulates of one image: of all layers, and of those that receive analogue values.

    shapes: of every node's output, [N, C, ...]. senders: of events.
    """
    total = analogue = 0
    carrying = spiking(graph, senders)
    for node in graph.layers:
        work = macs(graph, node, shapes)
        total += work
        if node.inputs[0] not in carrying:
            analogue += work
    return total, analogue


@dataclass(frozen=True)
class LayerSize:
    """A layer, see Graph.layers, and the neurons behind it.

    Attributes:
        name: Name of its node.
        title: What pictures call it, "conv 5".
        neurons: Name of their activation; None at an output.
        macs: Multiply-accumulates of the ANN in this layer.
        place: Size of the maps around it, "80 x 80": that of the last convolution.
    """

    name: str
    title: str
    neurons: str | None
    macs: int
    place: str


def layer_sizes(graph: Graph, height: int, width: int) -> list[LayerSize]:
    """The layers of a simulated graph, in order. height, width: of the input."""
    sizes = shapes(graph, height, width)
    titles = layer_labels(graph)
    neurons_of = {layer: neurons for neurons, layer in layer_before(graph).items()}
    layers: list[LayerSize] = []
    place = ""
    for node in graph.layers:
        neurons = neurons_of.get(node.name)
        if node.op == "conv":
            place = " x ".join(map(str, sizes[node.name][2:]))
        done = macs(graph, node, sizes)
        layers.append(LayerSize(node.name, titles[node.name], neurons, done, place))
    return layers
