"""The neuron of a network of whole numbers, once: scale, activation, digit-saving rounding.

A multiplication and an addition are never fused here, and functions that differ between libraries
in their last bit are computed from those two in a fixed order. So k is the same everywhere.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Neuron
from spiking_yolo.spikes.counting import digit_saving_round, operator

# The largest |k| that fits 8 bits.
LARGEST = 127
# 2^f for 0 <= f < 1, to 3e-9: coefficients of a polynomial, highest power first.
POWERS = (0.000218657848, 0.00123913318, 0.00968418631, 0.0554806302, 0.240230454, 0.693146933, 1.0)
LOG2_E = 1.4426950408889634
# SiLU and mish are parabolas of |x| in so many segments of this width; the last goes on as a line.
SEGMENTS, SEGMENT_WIDTH = 32, 0.375
# A softmax rounds e^x to whole multiples of 2^-ROOM / tokens, so that their sum is exact.
ROOM = 24


@dataclass(frozen=True)
class WholeLayer:
    """The parameters of one layer, [C] each.

    Attributes:
        scales: For each sum that arrives, what one of its units is worth: in thetas of this layer,
            or in values of the ANN before SiLU, mish and softmax.
        bias: Added to the scaled sums, in the same unit.
        per_value: 1 / theta, which makes thetas of values of the ANN.
        offset: Added before rounding: initial - 1/2 - zero point. The next layers have the zero
            point in their bias.
        ceiling: Cap of the activation, in thetas; None without one.
    """

    phi: Activation
    settings: Neuron
    scales: tuple[Tensor, ...]
    bias: Tensor
    per_value: Tensor
    offset: Tensor
    ceiling: Tensor | None


def fire(
    sums: Sequence[Tensor],
    layer: WholeLayer,
    before: Tensor | None,
    dead_zone: Tensor | float = 0.0,
) -> Tensor:
    """What the neurons of a layer have sent by the end of this step: k, whole numbers.

    v = phi(acc * scale + bias) / theta
    k = before + round(v + initial - 1/2 - zero point - before)

    Rounding saves digits (`digit_saving_round`). In a later frame a neuron sends nothing
    while less than 1/2 + dead zone is due. |k| <= 127.

    Few-spikes and multi-level neurons (settings.kind) send k = sign(v) * min(floor(|v| + initial),
    gamma).

    Args:
        sums: Exact sums, [N, C, ...]: one, or those of a shortcut, one per scale of the layer.
        layer: Its parameters.
        before: k of the frame before; None in the first.
        dead_zone: The dead zone, in thetas.
    """
    v = activation(sums, layer)
    if layer.settings.kind != "sigma-delta":
        size = (v.abs() + each(layer.offset + 0.5, v)).floor_().clamp_(max=layer.settings.gamma)
        return size * v.sign()
    due = v.add_(each(layer.offset, v))
    if before is not None:
        due = due.sub_(before)
    return send(due, before, layer.settings.slack, dead_zone)


def send(
    due: Tensor, before: Tensor | None, slack: float, dead_zone: float | Tensor = 0.0
) -> Tensor:
    """k of neurons that had sent `before`, and to which 1/2 + `due` thetas are due."""
    change = digit_saving_round(due, slack)
    # A tensor has no value while the neuron is exported.
    if torch.is_tensor(dead_zone) or dead_zone:
        change = change.mul_(due.abs() >= 0.5 + dead_zone)
    if before is not None:
        change = change.add_(before)
    return change.clamp_(-LARGEST, LARGEST)


def activation(sums: Sequence[Tensor], layer: WholeLayer) -> Tensor:
    """v of `fire`: phi of the scaled sums, in thetas."""
    v = sums[0] * each(layer.scales[0], sums[0])
    for k, scale in zip(sums[1:], layer.scales[1:], strict=True):
        v.add_(k * each(scale, k))
    v.add_(each(layer.bias, v))
    phi = layer.phi
    if phi.softmax:
        return softmax(v).mul_(each(layer.per_value, v))
    if phi.gate is not None:
        return curve(v, phi).mul_(each(layer.per_value, v))
    v = F.leaky_relu(v, phi.slope)
    if layer.ceiling is not None:
        v = torch.minimum(v, each(layer.ceiling, v))
    return v


def exp(x: Tensor) -> Tensor:
    """e^x for x <= 0, the same bits everywhere. Its relative error is (6 + |x|) * 2^-24 at most."""
    x = (x * LOG2_E).clamp_(min=-126.0)
    whole = x.floor()
    x = x - whole
    power = torch.full_like(x, POWERS[0])
    for coefficient in POWERS[1:]:
        power = power.mul_(x).add_(coefficient)
    return power.mul_(power_of_two(whole))


@operator
def power_of_two(n: Tensor) -> Tensor:
    """2^n of whole numbers -126..127, float32, by its bits."""
    return (n.to(torch.int32) + 127).bitwise_left_shift_(23).view(torch.float32)


def curve(x: Tensor, phi: Activation) -> Tensor:
    """SiLU or mish by a table, the same bits everywhere; |error| < 1.1e-4 (SiLU), 1.6e-4 (mish).

    phi(x) = x / 2 + h(x), where h is a parabola of |x| in each segment: two multiplications and two
    additions, where e^x takes seven and a division.

    Example:
        >>> curve(torch.tensor([-1.0, 0.0, 1.0]), Activation(silu=True))
        tensor([-0.2690,  0.0000,  0.7310])
    """
    size = x.abs()
    segment = (size * (1 / SEGMENT_WIDTH)).clamp_(max=SEGMENTS - 1).floor_()
    within = size - segment * SEGMENT_WIDTH
    index = segment.to(torch.int64)
    if phi.mish:
        index = index + SEGMENTS * (x < 0)
    table = curve_table(phi.mish).to(x.device)
    constant, linear, square = (row[index] for row in table)
    return (square * within + linear) * within + constant + x * 0.5


@cache
def curve_table(mish: bool) -> Tensor:
    """The parabolas of `curve`: constant, linear and square coefficients, float32 [3, segments].

    Each takes the values of h at the three Chebyshev nodes of its segment. SiLU's h is even; mish
    has the segments of positive x, then those of negative x.
    """
    columns: list[tuple[float, float, float]] = []
    for sign in (1, -1)[: 1 + mish]:
        for segment in range(SEGMENTS):
            columns.append(_parabola(mish, sign, segment * SEGMENT_WIDTH))
    return torch.tensor(columns, dtype=torch.float64).T.float().contiguous()


def _parabola(mish: bool, sign: int, start: float) -> tuple[float, float, float]:
    """Coefficients of h in a segment of |x| that begins at `start`, by Newton's differences."""
    if start == (SEGMENTS - 1) * SEGMENT_WIDTH:
        return start / 2, 0.5, 0.0
    gate: Callable[[float], float] = _mish_gate if mish else _silu_gate
    nodes = [SEGMENT_WIDTH / 2 * (1 - math.cos((2 * j + 1) * math.pi / 6)) for j in range(3)]
    values: list[float] = []
    for node in nodes:
        x = sign * (start + node)
        values.append(x * gate(x) - x / 2)
    rise = [(values[j + 1] - values[j]) / (nodes[j + 1] - nodes[j]) for j in (0, 1)]
    square = (rise[1] - rise[0]) / (nodes[2] - nodes[0])
    constant = values[0] - nodes[0] * rise[0] + square * nodes[0] * nodes[1]
    return constant, rise[0] - square * (nodes[0] + nodes[1]), square


def _silu_gate(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _mish_gate(x: float) -> float:
    return math.tanh(math.log1p(math.exp(x)))


def softmax(x: Tensor) -> Tensor:
    """Softmax over the last axis, whose sum is exact."""
    room = ROOM - (x.shape[-1] - 1).bit_length()
    size = (exp(x - x.amax(-1, keepdim=True)) * 2.0**room).round_()
    return size / size.sum(-1, keepdim=True)


def each(value: Tensor, like: Tensor) -> Tensor:
    """[C] values in a shape that broadcasts against [N, C, ...]."""
    return value.reshape(-1, *[1] * (like.ndim - 2))
