"""Rewrites that add up weights which receive the same values, so that an event is sent once."""

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.graph import Graph, Node, shapes
from spiking_yolo.graph.rewrites import analogue_nodes, renamed
from spiking_yolo.io.names import Size


def with_merged_weights(graph: Graph, imgsz: Size) -> Graph:
    """The same function with fewer operations: parallel convolutions and repeated inputs merged.

    Args:
        graph: The network.
        imgsz: An input size (height, width) that it takes.

    Example:
        >>> with_merged_weights(ann.graph, ann.imgsz)
    """
    return _merge_repeated_inputs(_merge_parallel_convolutions(graph), imgsz)


def _merge_parallel_convolutions(graph: Graph) -> Graph:
    """conv(x) + conv(x) as one convolution, as in RepVGG (Ding et al. 2021)."""
    users = graph.consumers()
    tensors = dict(graph.tensors)
    removed: set[str] = set()
    # Sum -> the convolution that takes its place.
    merged: dict[str, str] = {}
    for node in graph.nodes:
        if node.op != "add" or node.name in graph.outputs:
            continue
        first, second = graph[node.inputs[0]], graph[node.inputs[1]]
        alone = users[first.name] == users[second.name] == [node]
        if not alone or set(graph.outputs) & set(node.inputs):
            continue
        for large, small in ((first, second), (second, first)):
            weights = _sum_of_kernels(graph, large, small)
            if weights is not None:
                removed |= {small.name, node.name}
                merged[node.name] = large.name
                tensors[f"{large.name}.weight"], tensors[f"{large.name}.bias"] = weights
                del tensors[f"{small.name}.weight"], tensors[f"{small.name}.bias"]
                break
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name not in removed:
            nodes.append(replace(node, inputs=renamed(node.inputs, merged)))
    return replace(graph, nodes=tuple(nodes), tensors=tensors)


def _sum_of_kernels(graph: Graph, large: Node, small: Node) -> tuple[Tensor, Tensor] | None:
    """Weight and bias of a sum of convolutions; None unless the small kernel fits into the large.

    Of kernels of one size, either fits into the other.
    """
    if (large.op, small.op) != ("conv", "conv") or large.inputs != small.inputs:
        return None
    for key in ("stride", "dilation", "groups"):
        if large.attrs[key] != small.attrs[key]:
            return None
    weight, bias = graph.parameters(large)
    other, other_bias = graph.parameters(small)
    if weight is None or other is None or bias is None or other_bias is None:
        return None
    if list(large.attrs["dilation"]) != [1, 1]:
        return None
    sides: list[int] = []
    for axis in (1, 0):
        before = large.attrs["padding"][axis] - small.attrs["padding"][axis]
        sides += [before, weight.shape[2 + axis] - other.shape[2 + axis] - before]
    if min(sides) < 0:
        return None
    return weight + F.pad(other, sides), bias + other_bias


def _merge_repeated_inputs(graph: Graph, imgsz: Size) -> Graph:
    """A convolution of [x, x + y] as one of [x, y]: W1 x + W2 (x + y) = (W1 + W2) x + W2 y.

    Blocks such as C2f join a map with sums in which it is contained, so that without this its
    events would be sent twice or more. Sums of analogue values stay: neurons stand behind them.
    """
    if not any(_joins_repeatedly(graph, node) for node in graph.nodes):
        return graph
    sizes = shapes(graph, *imgsz)
    analogue = analogue_nodes(graph)
    tensors = dict(graph.tensors)
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.append(node)
        if node.op != "conv" or node.attrs["groups"] > 1:
            continue
        join = graph[node.inputs[0]]
        if not _joins_repeatedly(graph, join):
            continue
        key = f"{node.name}.weight"
        channels = [sizes[name][1] for name in join.inputs]
        blocks = dict(zip(join.inputs, tensors[key].split(channels, 1), strict=True))
        merged = _without_repeats(graph, blocks, analogue)
        if merged.keys() != blocks.keys():
            joined = replace(join, name=f"{node.name}_inputs", inputs=tuple(merged))
            nodes[-1:] = [joined, replace(node, inputs=(joined.name,))]
            tensors[key] = torch.cat(list(merged.values()), 1)
    return replace(graph, nodes=tuple(nodes), tensors=tensors).up_to(*graph.outputs)


def _joins_repeatedly(graph: Graph, node: Node) -> bool:
    """Whether maps are joined of which one is a sum that contains another."""
    parts = set(node.inputs)
    if node.op != "concat" or len(parts) < len(node.inputs):
        return False
    for name in parts:
        if graph[name].op == "add" and len(parts.intersection(graph[name].inputs)) == 1:
            return True
    return False


def _without_repeats(
    graph: Graph, blocks: Mapping[str, Tensor], analogue: set[str]
) -> dict[str, Tensor]:
    """Weights by the map that they receive, without sums that contain another of the maps."""
    merged = dict(blocks)
    for name in reversed(list(blocks)):
        node = graph[name]
        if node.op != "add" or not analogue.isdisjoint((name, *node.inputs)):
            continue
        for first, second in (node.inputs, node.inputs[::-1]):
            if first in merged and second not in merged:
                # The order of the maps stays, so that results do not depend on more than rounding.
                merged = {second if key == name else key: weight for key, weight in merged.items()}
                merged[first] = merged[first] + merged[second]
                break
    return merged
