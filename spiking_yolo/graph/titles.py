"""What layers are called in tables and pictures."""

from collections.abc import Mapping

from torch import Size

from spiking_yolo.graph.graph import Graph

_TITLES = {"attention_scores": "attention scores", "attend": "attention"}


def layer_labels(graph: Graph) -> dict[str, str]:
    """What pictures call every layer and activation: "conv 5".

    Layers are numbered together, from 1; an activation has the number of the layer before it.
    """
    labels: dict[str, str] = {}
    for k, node in enumerate(graph.layers, 1):
        labels[node.name] = f"{_TITLES.get(node.op, node.op)} {k}"
    for name, layer in layer_before(graph).items():
        labels[name] = labels[layer]
    return labels


def layer_titles(graph: Graph, shapes: Mapping[str, Size]) -> dict[str, str]:
    """Label of every layer and activation with the shape of its own output: "conv 5, 26 x 26, 256
    channels".

    shapes: of every node's output, [N, C, ...], see `graph.shapes`.
    """
    titles: dict[str, str] = {}
    for name, label in layer_labels(graph).items():
        _, channels, *sides = shapes[name]
        parts = [label]
        if name in graph.outputs:
            parts.append("output")
        if sides:
            parts += [" x ".join(map(str, sides)), f"{channels} channels"]
        else:
            parts.append(f"{channels} values")
        titles[name] = ", ".join(parts)
    return titles


def layer_before(graph: Graph) -> dict[str, str]:
    """Activation -> the last layer (see `Graph.layers`) that it is computed from without another
    activation.
    """
    found: dict[str, str] = {}
    # Node -> the same for any node; layer -> its number.
    before: dict[str, str | None] = {}
    order: dict[str, int] = {}
    for node in graph.nodes:
        last: str | None = None
        if node.multiplies:
            order[node.name] = len(order)
            last = node.name
        else:
            for name in node.inputs:
                layer = before[name]
                if layer is not None and (last is None or order[layer] > order[last]):
                    last = layer
        if node.op == "activation":
            if last is not None:
                found[node.name] = last
            last = None
        before[node.name] = last
    return found
