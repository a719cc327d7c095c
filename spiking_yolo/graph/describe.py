"""What a person calls the layers of a graph, whose own names are those of a file."""

from collections.abc import Mapping

from torch import Size

from spiking_yolo.graph.graph import Graph


def layer_titles(graph: Graph, shapes: Mapping[str, Size]) -> dict[str, str]:
    """Title of every weighted node and activation: "conv 5, 26 x 26, 256 channels", with the shape of its own output.

    Convolutions and linear layers are numbered together, from 1; an activation has the number of the one before it.
    shapes: of every node's output, [N, C, ...], see `graph.shapes`.
    """
    number = {node.name: k for k, node in enumerate(graph.weighted, 1)}
    own = {name: name for name in number} | weighted_before(graph)
    return {
        name: f"{graph[layer].op} {number[layer]}{', output' * (name in graph.outputs)}, {_size(shapes[name])}"
        for name, layer in own.items()
    }


def weighted_before(graph: Graph) -> dict[str, str]:
    """Activation -> the last convolution or linear layer that it is computed from without another activation."""
    found: dict[str, str] = {}
    before: dict[str, str | None] = {}  # node -> the same for any node
    order = {node.name: k for k, node in enumerate(graph.weighted)}
    for node in graph.nodes:
        if node.name in order:
            before[node.name] = node.name
            continue
        known = [name for i in node.inputs if (name := before[i]) is not None]
        last = max(known, key=order.__getitem__, default=None)
        before[node.name] = None if node.op == "activation" else last
        if node.op == "activation" and last is not None:
            found[node.name] = last
    return found


def _size(shape: Size) -> str:
    place = f"{' x '.join(map(str, shape[2:]))}, " if len(shape) > 2 else ""
    return f"{place}{shape[1]} {'channels' if len(shape) > 2 else 'values'}"
