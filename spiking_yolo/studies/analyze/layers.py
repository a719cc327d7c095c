"""Reading a layer of neurons, of whatever kind."""

from __future__ import annotations

from torch import Tensor

from spiking_yolo.snn import neurons
from spiking_yolo.snn.neurons import Layer


def sides(layer: Layer) -> tuple[Layer, ...]:
    """The neurons of a layer: (ON, OFF) of a pair, else the layer itself."""
    return (layer.on, layer.off) if isinstance(layer, neurons.OnOffPair) else (layer,)


def threshold(layer: Layer) -> Tensor:
    """theta(t) of the last step, in a shape that broadcasts against the state; not of a pair, which has two."""
    adaptive = isinstance(layer, (neurons.AdaptiveIntegrateAndFire, neurons.AdaptiveSignedMemory))
    return layer.threshold if adaptive else layer.theta * layer.spike_weight
