"""Layers and activations that torch.nn lacks; the tracer turns each into one node.

QCFS: Bu et al., "Optimal ANN-SNN conversion for high-accuracy and ultra-low-latency spiking neural networks", 2022.
Clipped ReLU: Deng and Gu, 2021. Both learn their cap `theta`, which becomes the firing threshold.
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
    """Max pooling of x [N, C, H, W] after padding (left, right, top, bottom) with -inf.

    Output side: floor((input + both pads - kernel) / stride) + 1.
    """
    return max_pool(x, [kernel] * 2, [stride] * 2, list(padding))


class PaddedMaxPool2d(nn.Module):
    """Max pooling with a separate pad on each side; see padded_max_pool2d.

    It pads with -inf, not 0, so that a border window of negative values keeps its maximum.
    """

    def __init__(self, kernel: int, stride: int, padding: Sides) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return padded_max_pool2d(x, self.kernel, self.stride, self.padding)

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}, padding={self.padding}"


def straight_through_floor(x: Tensor) -> Tensor:
    """floor(x), with the gradient of the identity (straight-through estimator)."""
    return x + (x.floor() - x).detach()


def qcfs(x: Tensor, theta: Tensor, levels: int) -> Tensor:
    """QCFS with gradients: `clip(floor(x L / theta + 1/2) / L, 0, 1) * theta`; theta broadcasts against x."""
    return quantised_relu(x, theta, levels, straight_through_floor)


class QCFS(nn.Module):
    """Quantised clipped ReLU with a trained cap. theta: the cap, a scalar. levels: steps from 0 to the cap.

    Raises UserError for fewer than one level.
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
    """`clip(x, 0, theta)` with a trained cap theta, a scalar."""

    def __init__(self, theta: float = 8.0) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(float(theta)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.minimum(x.relu(), self.theta)


ACTIVATIONS = ("relu", "leaky", "clip", "qcfs")


def activation(name: str, levels: int = 8) -> nn.Module:
    """A new activation module. name: one of ACTIVATIONS. levels: for "qcfs". Raises UserError for other names."""
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
