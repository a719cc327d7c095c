"""What a run costs: multiply-accumulates of the ANN, synaptic operations of the SNN."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.graph import OPS, Graph, Node


def macs(graph: Graph, node: Node, shape: torch.Size) -> int:
    """Multiply-accumulates of one convolution or linear layer for one image; shape: of its output, [N, C, ...].

    The convention of published figures: padding is counted as if it were input.
    """
    weight, _ = graph.parameters(node)
    assert weight is not None
    positions = shape[1:].numel() // shape[1]
    return weight.numel() * positions


def fan_out(node: Node, weight: Tensor, height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """How many outputs an event at each input position of a convolution reaches: float64 [height, width].

    Padding cuts the fan-out at the border, stride thins it.
    """
    a = node.attrs
    probe = torch.zeros(1, 1, height, width, dtype=torch.float64, device=device, requires_grad=True)
    kernel = torch.ones(1, 1, *weight.shape[2:], dtype=torch.float64, device=device)
    with torch.enable_grad():
        reached = F.conv2d(probe, kernel, None, a["stride"], a["padding"], a["dilation"])
        (paths,) = torch.autograd.grad(reached.sum(), probe)
    return paths[0, 0] * (weight.shape[0] // a["groups"])


def events(graph: Graph, name: str, counts: Mapping[str, Tensor]) -> Tensor | None:
    """Events per neuron that arrived along a connection, in the shape of node `name`'s output.

    counts: cumulative events of the sources, neurons and max pooling. Upsampling copies events. A convolution behind
    average pooling sees each event of the pooled window: what arrives is their sum. Adding delivers both operands'.
    None: the connection carries no events but analogue values (the image, or a convolution's output).
    """
    if name in counts:
        return counts[name].double()
    node = graph[name]
    if node.op in ("input", "conv", "linear"):
        return None
    arrived = [given for i in node.inputs if (given := events(graph, i, counts)) is not None]
    if len(arrived) < len(node.inputs):
        return None
    if node.op == "avg_pool":
        a = node.attrs
        return F.avg_pool2d(arrived[0], a["kernel"], a["stride"], a["padding"], a["ceil"], divisor_override=1)
    if node.op == "global_avg_pool":
        return arrived[0].sum((2, 3), keepdim=True)
    return OPS[node.op](node.attrs, None, None, *arrived)


def synaptic_operations(graph: Graph, node: Node, arrived: Tensor) -> Tensor:
    """Synaptic operations of one convolution or linear layer: every event times the outputs it reaches.

    arrived: events at its input, [N, C, H, W] or [N, features]. Returns float64 [N].
    """
    weight, _ = graph.parameters(node)
    assert weight is not None
    if node.op == "linear":
        return arrived.sum(1) * weight.shape[0]
    return (arrived.sum(1) * fan_out(node, weight, *arrived.shape[2:], device=arrived.device)).sum((1, 2))


def total_operations(graph: Graph, counts: Mapping[str, Tensor]) -> Tensor:
    """Synaptic operations of all layers that receive events, float64 [N]; counts as in `events`."""
    first = next(iter(counts.values()))
    total = torch.zeros(len(first), dtype=torch.float64, device=first.device)
    for node in _weighted(graph):
        arrived = events(graph, node.inputs[0], counts)
        if arrived is not None:
            total += synaptic_operations(graph, node, arrived)
    return total


def total_macs(graph: Graph, shapes: Mapping[str, torch.Size], counts: Mapping[str, Tensor]) -> tuple[int, int]:
    """Multiply-accumulates of one image: of all layers, and of those that receive analogue values.

    shapes: of every node's output, [N, C, ...].
    """
    total = analogue = 0
    for node in _weighted(graph):
        work = macs(graph, node, shapes[node.name])
        total += work
        if events(graph, node.inputs[0], counts) is None:
            analogue += work
    return total, analogue


def _weighted(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.op in ("conv", "linear")]
