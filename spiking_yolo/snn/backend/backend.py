"""What the simulator uses of this folder."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spiking_yolo.snn.backend.active import ActiveConvolution
from spiking_yolo.snn.backend.blocks import BlockedStep, Scratch
from spiking_yolo.snn.backend.compiled import CompiledStep
from spiking_yolo.snn.backend.convolution import PackedConvolution
from spiking_yolo.snn.backend.pooling import PooledSum


class Backend:
    """Makes the parts of one network.

    compiled: with PyTorch's compiler. event_driven: what few events reach is computed alone. Both differ by rounding.
    """

    def __init__(self, compiled: bool = False, event_driven: bool = False):
        self.compiled, self.event_driven = compiled, event_driven and not compiled
        self._scratch = Scratch()

    def step(self, reports: bool) -> BlockedStep:
        """What applies a layer's pure step to all its rows. reports: whether it tells the largest value sent."""
        return (CompiledStep if self.compiled else BlockedStep)(self._scratch, reports)

    def pooled_sum(self, attrs: Mapping[str, Any]) -> PooledSum:
        """max_pool of the sum over time; attrs: see graph.max_pool."""
        return PooledSum(attrs, self.compiled)

    def convolution(self, weight: Tensor, bias: Tensor | None, attrs: Mapping[str, Any]) -> PackedConvolution:
        """A convolution that is called many times with the same weights."""
        return PackedConvolution(weight, bias, attrs)

    def active_convolution(self, weight: Tensor, attrs: Mapping[str, Any]) -> ActiveConvolution | None:
        """The same for a few rows of its input and without bias; None where that is not to be.

        Not on a GPU, which would wait in every layer to learn how many rows there are.
        """
        wanted = self.event_driven and weight.device.type == "cpu"
        return ActiveConvolution(weight, attrs) if wanted and ActiveConvolution.serves(attrs) else None
