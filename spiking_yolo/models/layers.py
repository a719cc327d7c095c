"""Layers that torch.nn lacks."""

from __future__ import annotations

import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

Sides = tuple[int, int, int, int]


@torch.fx.wrap
def padded_max_pool2d(x: Tensor, kernel: int, stride: int, padding: Sides) -> Tensor:
    """Max pool of x [N, C, H, W] after padding (left, right, top, bottom) with -inf.

    The output side is floor((in + both pads - kernel) / stride) + 1. A pad on the right or bottom that no
    window reaches is not made, which saves a copy in the common 2/2 pool of an even map.
    """
    left, right, top, bottom = padding
    spare_w = (x.shape[-1] + left + right - kernel) % stride
    spare_h = (x.shape[-2] + top + bottom - kernel) % stride
    pads = (left, max(right - spare_w, 0), top, max(bottom - spare_h, 0))
    if any(pads):
        x = F.pad(x, pads, value=float("-inf"))
    return F.max_pool2d(x, kernel, stride)


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
