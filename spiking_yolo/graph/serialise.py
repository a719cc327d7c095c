"""A graph in a safetensors file: its tensors, and its nodes as JSON in the metadata. Reading executes no code."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor

from spiking_yolo.graph import Graph, Node
from spiking_yolo.io.json_text import json_text
from spiking_yolo.io.typed_json import entry


def graph_metadata(graph: Graph) -> dict[str, str]:
    """Nodes and outputs as metadata; the tensors are stored separately."""
    return {"nodes": json_text([asdict(node) for node in graph.nodes]), "outputs": json_text(graph.outputs)}


def graph_from(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Graph:
    """The graph of `graph_metadata`. Raises KeyError or ValueError (so UserError too) for anything else."""
    nodes = tuple(map(_node, entry(metadata, "nodes", list[dict[str, Any]])))
    return Graph(nodes, tuple(entry(metadata, "outputs", list[str])), tensors)


def _node(given: Mapping[str, Any]) -> Node:
    name, op, inputs, attrs = (given[key] for key in ("name", "op", "inputs", "attrs"))
    texts = isinstance(inputs, list) and all(isinstance(text, str) for text in (name, op, *inputs))
    if not texts or not isinstance(attrs, dict):
        raise ValueError("a node needs a name, an operation, the names of its inputs and attributes")
    return Node(name, op, tuple(inputs), attrs)
