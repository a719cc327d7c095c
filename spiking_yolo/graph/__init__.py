"""The network as plain data, and what works on it: tracing, the forward pass, rewrites,
(de)serialisation.
"""

from spiking_yolo.graph.graph import OPS as OPS
from spiking_yolo.graph.graph import Activation as Activation
from spiking_yolo.graph.graph import Gate as Gate
from spiking_yolo.graph.graph import Graph as Graph
from spiking_yolo.graph.graph import Node as Node
from spiking_yolo.graph.graph import forward as forward
from spiking_yolo.graph.graph import max_pool as max_pool
from spiking_yolo.graph.graph import product_fan_out as product_fan_out
from spiking_yolo.graph.graph import reached_padding as reached_padding
from spiking_yolo.graph.graph import shapes as shapes
