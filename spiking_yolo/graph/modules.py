"""Layers and activations that torch.nn lacks, which the tracer knows as operations of their own.

QCFS: Bu et al., "Optimal ANN-SNN conversion for high-accuracy and ultra-low-latency spiking neural networks", 2022. The
clipped ReLU is of Deng and Gu, 2021. Both learn their cap `theta`, which becomes the firing threshold.
"""

from __future__ import annotations

import torch
import torch.fx
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph.graph import max_pool, quantised_relu

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


def straight_through_floor(x: Tensor) -> Tensor:
    """floor(x) with the gradient of the identity."""
    return x + (x.floor() - x).detach()


def qcfs(x: Tensor, theta: Tensor, levels: int) -> Tensor:
    """`clip(floor(x L / theta + 1/2) / L, 0, 1) * theta` with gradients; theta broadcasts against x."""
    return quantised_relu(x, theta, levels, straight_through_floor)


class QCFS(nn.Module):
    """Quantised clipped ReLU with a trained cap. theta: scalar, units of the activation. levels: steps up to
    it.
    """

    def __init__(self, levels: int = 8, theta: float = 8.0) -> None:
        super().__init__()
        if levels < 1:
            raise UserError(f"QCFS needs at least 1 level, not {levels}: pass levels=8, for example")
        self.levels = levels
        self.theta = nn.Parameter(torch.tensor(float(theta)))

    def forward(self, x: Tensor) -> Tensor:
        return qcfs(x, self.theta, self.levels)

    def extra_repr(self) -> str:
        return f"levels={self.levels}"


class ClippedReLU(nn.Module):
    """`clip(x, 0, theta)` with a trained cap. theta: scalar, units of the activation."""

    def __init__(self, theta: float = 8.0) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(float(theta)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.minimum(x.relu(), self.theta)


ACTIVATIONS = ("relu", "leaky", "clip", "qcfs")


def activation(name: str, levels: int = 8) -> nn.Module:
    """A fresh activation module. name: one of ACTIVATIONS. levels: of QCFS."""
    match name:
        case "relu":
            return nn.ReLU()
        case "leaky":
            return nn.LeakyReLU(0.1)
        case "clip":
            return ClippedReLU()
        case "qcfs":
            return QCFS(levels)
    raise UserError(f"unknown activation {name!r}: choose one of {', '.join(ACTIVATIONS)}")
