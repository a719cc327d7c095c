"""A graph in a safetensors file: tensors, and JSON in the metadata. Reading it executes no code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from torch import Tensor

from spiking_yolo.graph import Graph, Node


def graph_metadata(graph: Graph) -> dict[str, str]:
    """Nodes and outputs; the tensors are kept beside them."""
    return {"nodes": json.dumps([asdict(node) for node in graph.nodes]), "outputs": json.dumps(graph.outputs)}


def graph_from(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Graph:
    """The inverse. Raises KeyError, TypeError or ValueError (and so UserError) for what does not describe a graph."""
    nodes = tuple(Node(n["name"], n["op"], tuple(n["inputs"]), n["attrs"]) for n in json.loads(metadata["nodes"]))
    return Graph(nodes, tuple(json.loads(metadata["outputs"])), tensors)
