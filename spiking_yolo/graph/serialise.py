"""A graph in a safetensors file: its tensors, and its nodes as JSON in the metadata. Reading executes no code."""

import json
from collections.abc import Mapping
from dataclasses import asdict

from torch import Tensor

from spiking_yolo.graph import Graph, Node


def graph_metadata(graph: Graph) -> dict[str, str]:
    """Nodes and outputs as metadata; the tensors are stored separately."""
    return {"nodes": json.dumps([asdict(node) for node in graph.nodes]), "outputs": json.dumps(graph.outputs)}


def graph_from(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Graph:
    """The graph of `graph_metadata`. Raises KeyError, TypeError or ValueError (so UserError too) for anything else."""
    nodes = tuple(Node(n["name"], n["op"], tuple(n["inputs"]), n["attrs"]) for n in json.loads(metadata["nodes"]))
    return Graph(nodes, tuple(json.loads(metadata["outputs"])), tensors)
