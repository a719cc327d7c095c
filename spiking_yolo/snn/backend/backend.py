"""What the simulator uses of this folder."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spiking_yolo.snn.backend.blocks import BlockedStep, Scratch
from spiking_yolo.snn.backend.compiled import CompiledStep
from spiking_yolo.snn.backend.convolution import PackedConvolution
from spiking_yolo.snn.backend.pooling import PooledSum


class Backend:
    """Makes the parts of one network. compiled: with PyTorch's compiler; results then differ by rounding."""

    def __init__(self, compiled: bool = False):
        self.compiled = compiled
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
