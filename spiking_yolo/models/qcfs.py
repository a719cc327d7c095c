"""Activations that a network is trained with so that it converts well, and the choice between them.

QCFS: Bu et al., "Optimal ANN-SNN conversion for high-accuracy and ultra-low-latency spiking neural networks",
2022. The clipped ReLU is Deng & Gu, 2021. Both learn their cap `theta`, which becomes the firing threshold.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph import quantised_relu


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
