"""Layers and activations that torch.nn lacks; the tracer turns each into one node.

QCFS: Bu et al., "Optimal ANN-SNN conversion for high-accuracy and ultra-low-latency spiking neural
networks", 2022. Clipped ReLU: Deng and Gu, 2021. Both learn their cap `theta`, which becomes the
firing threshold.
"""

import torch
import torch.fx
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph import attend, attention_scores, max_pool, quantised_relu

# max_pool is a leaf of the trace, since its padding depends on the size of the map.
torch.fx.wrap("max_pool")
Sides = tuple[int, int, int, int]


class Attention(nn.Module):
    """Attention over the positions of feature maps: softmax(q' k) v in each head, without a scale.

    Args:
        heads: Number of heads, which share the channels evenly.
        areas: Runs of consecutive positions, in each of which attention stays; see
            `graph.attention_scores`.

    Example:
        >>> q = torch.randn(1, 8, 4, 4)
        >>> Attention(heads=2)(q, q, torch.randn(1, 16, 4, 4)).shape
        torch.Size([1, 16, 4, 4])
    """

    def __init__(self, heads: int, areas: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.areas = areas

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k: [N, heads * D, H, W]; v: [N, C, H, W], like the result."""
        scores = attention_scores(q, k, self.heads, self.areas)
        return attend(scores.softmax(-1), v, self.heads, self.areas)


class PaddedMaxPool2d(nn.Module):
    """Max pooling of [N, C, H, W] after padding (left, right, top, bottom) with -inf.

    Not with 0, so that a border window of negative values keeps its maximum. Output side:
    floor((input + both pads - kernel) / stride) + 1.
    """

    def __init__(self, kernel: int, stride: int, padding: Sides) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        return max_pool(x, [self.kernel] * 2, [self.stride] * 2, list(self.padding))


class QCFS(nn.Module):
    """Quantised clipped ReLU with a trained cap: `theta clip(floor(x L / theta + 1/2) / L, 0, 1)`.

    Args:
        levels: L, the steps from 0 to the cap.
        theta: Initial value of the cap, a scalar.

    Raises:
        UserError: There is not even one level.
    """

    def __init__(self, levels: int = 8, theta: float = 8.0) -> None:
        super().__init__()
        if levels < 1:
            raise UserError(f"QCFS needs a level or more, not {levels}: pass 8, for example")
        self.levels = levels
        self.theta = nn.Parameter(torch.tensor(float(theta)))

    def forward(self, x: Tensor) -> Tensor:
        # Its gradient is that of the identity (straight-through estimator).
        return quantised_relu(x, self.theta, self.levels, lambda y: y + (y.floor() - y).detach())


class ClippedReLU(nn.Module):
    """`clip(x, 0, theta)` with a trained cap theta, a scalar."""

    def __init__(self, theta: float = 8.0) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(float(theta)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.minimum(x.relu(), self.theta)
