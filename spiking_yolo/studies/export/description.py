"""A converted network as JSON that a person can read: graph, shapes, thresholds and where it came from; no weights."""

import json
from typing import Any

from torch import Tensor

from spiking_yolo.convert.converted import Converted
from spiking_yolo.graph import Node, shapes
from spiking_yolo.io.json_text import json_text

FORMAT = "spiking_yolo-description-1"


def describe(converted: Converted) -> str:
    """The JSON text, one line per node.

    A node has name, op, inputs, attrs, and shape, that of its output without the batch: [C, H, W] or [features].
    weight, bias: shapes. neurons: what its neurons have, see snn.neurons.NeuronLayer: theta per channel in the units of
    the original network, a single number where all channels share it; of a value per neuron the shape, and its range.
    """
    graph = converted.graph
    sizes = shapes(graph, converted.spec.height, converted.spec.width)
    head = {
        "format": FORMAT,
        "recipe": json.loads(converted.recipe.to_json()),
        "spec": json.loads(converted.spec.to_json()),
        "provenance": dict(converted.provenance),
        "outputs": list(graph.outputs),
    }
    lines = [f" {json_text(key)}: {json_text(value)}," for key, value in head.items()]
    nodes = [f"  {json_text(_node(converted, node, list(sizes[node.name][1:])))}" for node in graph.nodes]
    return "\n".join(["{", *lines, ' "nodes": [', ",\n".join(nodes), " ]", "}", ""])


def _node(converted: Converted, node: Node, shape: list[int]) -> dict[str, Any]:
    entry = {"name": node.name, "op": node.op, "inputs": list(node.inputs), "attrs": dict(node.attrs), "shape": shape}
    weight, bias = converted.graph.parameters(node)
    entry |= {key: list(value.shape) for key, value in (("weight", weight), ("bias", bias)) if value is not None}
    if own := converted.neurons.get(node.name):
        entry["neurons"] = {key: _values(value) for key, value in own.items()}
    return entry


def _values(tensor: Tensor) -> Any:
    """Numbers to 7 digits, about as many as float32 has."""
    low, high = (float(f"{end.item():.7g}") for end in tensor.aminmax())
    if low == high:
        return low
    if tensor.ndim > 1:
        return {"shape": list(tensor.shape), "min": low, "max": high}
    return [float(f"{value:.7g}") for value in tensor.tolist()]
