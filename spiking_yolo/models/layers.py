"""Layers that torch.nn lacks."""

from __future__ import annotations

import torch.fx
from torch import Tensor, nn

from spiking_yolo.graph import max_pool

Sides = tuple[int, int, int, int]


@torch.fx.wrap
def padded_max_pool2d(x: Tensor, kernel: int, stride: int, padding: Sides) -> Tensor:
    """Max pool of x [N, C, H, W] after padding (left, right, top, bottom) with -inf.

    The output side is floor((in + both pads - kernel) / stride) + 1.
    """
    return max_pool(x, [kernel] * 2, [stride] * 2, list(padding))


class PaddedMaxPool2d(nn.Module):
    """Max pooling with its own pad on each side; see padded_max_pool2d.

    Padding is -inf and not 0: a window of negative values at the border keeps its own maximum.
    """

    def __init__(self, kernel: int, stride: int, padding: Sides) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return padded_max_pool2d(x, self.kernel, self.stride, self.padding)

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}, padding={self.padding}"
