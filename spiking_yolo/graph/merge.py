"""A rewrite that adds up weights which receive the same values, so that an event is sent once."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from spiking_yolo.graph import Graph, Node, shapes
from spiking_yolo.graph.rewrites import analogue_nodes
from spiking_yolo.io.names import Size


def with_merged_weights(graph: Graph, imgsz: Size) -> Graph:
    """A convolution of [x, x + y] as one of [x, y]: W1 x + W2 (x + y) = (W1 + W2) x + W2 y.

    Blocks such as C2f join a map with sums in which it is contained, so that without this its
    events would be sent twice or more. Sums of analogue values stay: neurons stand behind them.

    Args:
        graph: The network.
        imgsz: An input size (height, width) that it takes.

    Example:
        >>> with_merged_weights(ann.graph, ann.imgsz)
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
