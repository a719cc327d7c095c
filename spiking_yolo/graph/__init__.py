"""The network as plain data, and what is computed with it: trace, forward pass, rewrites, counts."""

from spiking_yolo.graph.graph import (
    OPS,
    Activation,
    Graph,
    Node,
    forward,
    max_pool,
    quantised_relu,
    reached_padding,
    shapes,
)

__all__ = [
    "OPS",
    "Activation",
    "Graph",
    "Node",
    "forward",
    "max_pool",
    "quantised_relu",
    "reached_padding",
    "shapes",
]
