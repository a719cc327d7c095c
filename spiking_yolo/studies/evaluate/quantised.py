"""The rival of a spiking network: the same ANN with activations of a few bits.

Uniform affine quantisation with one scale and zero point per channel (Jacob et al. 2018), which folds into the next
layer's weights just as a spike's value does. Ranges come from the calibration statistics; weights stay as they are.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from spiking_yolo.convert.histogram import Histogram
from spiking_yolo.convert.statistics import Statistics
from spiking_yolo.convert.thresholds import at_most, extreme, mmse
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Activation, Graph, Node, forward

Forward = Callable[[Tensor], tuple[Tensor, ...]]
_SEARCHED = 8  # bits up to which clipping pays; beyond, the whole range is used


def bits_of(gamma: int, T: int) -> int:
    """Bits that hold the gamma * T + 1 values which a neuron can have sent after T steps."""
    return math.ceil(math.log2(gamma * T + 1))


def activation_range(histogram: Histogram, phi: Activation, bits: int) -> tuple[Tensor, Tensor]:
    """What an activation is clipped to: magnitudes below and above zero, float64 [C] each.

    Each side by minimum mean squared error at 2^bits - 1 levels (Li 2021), or whole where that changes nothing.
    """

    def side(sign: int, cap: float | None = None) -> Tensor:
        levels = 2**bits - 1
        if bits <= _SEARCHED:
            return mmse(histogram, sign, levels, 1, rounds=True, cap=cap)
        return at_most(extreme(histogram, sign), cap)

    above = side(0, phi.cap)
    above, below = phi.reach(above, side(1) if phi.slope or phi.silu else torch.zeros_like(above))
    return below, above


def quantise(x: Tensor, below: Tensor, above: Tensor, bits: int) -> Tensor:
    """The nearest of 2^bits equally spaced values from about -below to about +above, zero being one of them.

    x: [N, C, ...]; below, above: [C]. A channel whose range is empty becomes zero.
    """
    levels = 2**bits - 1
    shape = (1, -1) + (1,) * (x.ndim - 2)
    step = ((below + above) / levels).reshape(shape)
    step = torch.where(step > 0, step, torch.inf)
    zero = (below.reshape(shape) / step).round()
    return (x / step).round().clamp(-zero, levels - zero) * torch.where(step.isinf(), 0.0, step)


def quantised_ann(graph: Graph, statistics: Statistics, bits: int) -> Forward:
    """The forward pass of the graph with every activation quantised. Raises UserError for less than 1 bit."""
    if bits < 1:
        raise UserError(f"activations need at least 1 bit, not {bits}")
    ranges = {
        node.name: activation_range(statistics.histograms[node.name], node.phi, bits) for node in graph.activations
    }

    def put_on_grid(node: Node, before: Tensor, after: Tensor) -> None:
        below, above = (side.to(after) for side in ranges[node.name])
        after.copy_(quantise(after, below, above, bits))  # the graph goes on with this tensor

    def quantised(x: Tensor) -> tuple[Tensor, ...]:
        nearby = graph.to(x.device)
        return forward(nearby, x, put_on_grid)

    return quantised
