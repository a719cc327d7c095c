"""Speed alone: event-driven kernels, blocks that stay in the cache, packed weights.

Packed convolutions, pooled sums and the loop over blocks run always; the event-driven kernels are
optional. A reader can skip this folder: `Backend` is all that the simulator uses of it, and its
results differ from the plain formulas by rounding at most.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spiking_yolo.recipe import Neuron
from spiking_yolo.snn.fast.dense import PackedConvolution, PooledSum
from spiking_yolo.snn.fast.events import (
    EventConvolution,
    EventNeurons,
    Kernels,
    library,
)
from spiking_yolo.snn.fast.steps import BlockedStep, Scratch
from spiking_yolo.snn.layout import rows
from spiking_yolo.snn.state import map_tree


class Backend:
    """Makes the parts of one network.

    event_driven: with the kernels in C, where they were built; what few events reach is computed
    alone. Results differ by rounding.
    """

    def __init__(self, event_driven: bool = False):
        self._kernels = Kernels() if event_driven and library() is not None else None
        self._scratch = Scratch()

    def step(self, reports: bool) -> BlockedStep:
        """What applies a layer's pure step to all its rows. reports: whether it tells the largest
        value sent.
        """
        return BlockedStep(self._scratch, reports)

    def pooled_sum(self, attrs: Mapping[str, Any], lasting: bool = False) -> PooledSum:
        """max_pool of the sum over time; see PooledSum."""
        return PooledSum(attrs, lasting, self._kernels)

    def convolution(
        self, weight: Tensor, bias: Tensor | None, attrs: Mapping[str, Any]
    ) -> PackedConvolution:
        """A convolution that is called many times with the same weights."""
        return PackedConvolution(weight, bias, attrs)

    def event_convolution(
        self, weight: Tensor, attrs: Mapping[str, Any]
    ) -> EventConvolution | None:
        """The same of few events, without bias; None where there is no such thing."""
        if self._kernels is None or not EventConvolution.serves(weight, attrs):
            return None
        return EventConvolution(self._kernels, weight, attrs)

    def shared(self, convolution: EventConvolution | None) -> EventConvolution | None:
        """The event convolution of another network, with the same weights, for this one."""
        if self._kernels is None or convolution is None:
            return None
        return convolution.of_network(self._kernels)

    def event_neurons(
        self, state: Any, parameters: Any, settings: Neuron, slope: float
    ) -> EventNeurons | None:
        """Neurons with memory that send all that is due; None where there is no such thing. See
        EventNeurons.
        """
        state = map_tree(rows, state)
        if self._kernels is None or not EventNeurons.serves(state, parameters):
            return None
        return EventNeurons(self._kernels, state, parameters, settings, slope)
