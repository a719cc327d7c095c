"""How each torch operation becomes a graph node."""

from spiking_yolo.graph.translate.call import Call
from spiking_yolo.graph.translate.tables import ADVICE, FUNCTIONS, MODULES

__all__ = ["ADVICE", "FUNCTIONS", "MODULES", "Call"]
