"""The network as plain data, and what works on it: tracing, the forward pass, rewrites,
(de)serialisation.
"""

from spiking_yolo.graph.graph import (
    OPS,
    Activation,
    Gate,
    Graph,
    Node,
    forward,
    max_pool,
    product_fan_out,
    reached_padding,
)
from spiking_yolo.graph.validate import shapes

__all__ = [
    "OPS",
    "Activation",
    "Gate",
    "Graph",
    "Node",
    "forward",
    "max_pool",
    "product_fan_out",
    "reached_padding",
    "shapes",
]
