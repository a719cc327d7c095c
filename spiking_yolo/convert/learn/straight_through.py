"""Layers of neurons that send complete values in one step, as functions with gradients.

Each activation is rounded to a whole number of thetas, as SigmaDelta rounds it, and an event
costs the synaptic operations that it causes. Rounding passes gradients on as if it were not there
(the straight-through estimator of Bengio et al. 2013; for theta as in LSQ, Esser et al. 2020), and
the number of digits as if it were a smooth function.
"""

import ctypes
import math
from collections.abc import Callable, Mapping
from ctypes import c_float, c_int32, c_int64, c_void_p
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from spiking_yolo.graph import Activation
from spiking_yolo.integer.library import LANES, library
from spiking_yolo.integer.neuron import LARGEST, send
from spiking_yolo.spikes.counting import count_digits

# The sums of so many parts of an image are added up in order, however many threads there are.
PARTIAL_SUMS = 32
# The kernel gives so many sums per channel, from which the gradients of parameters follow.
SUMS = 6
IDENTITY = Activation(slope=1.0)


def fire_with_gradients(
    z: Tensor,
    parameters: Mapping[str, Tensor],
    phi: Activation,
    cost: Tensor | None,
    slack: float,
    before: Tensor | None = None,
    dead_zone: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Compute the values that a layer of neurons has sent, and the operations per MAC, [N].

    value = (n + rest) * theta, with n = round(phi(z + bias) / theta + initial - 1/2 - rest) the
    number of thetas that are sent, at costs of digits(n). In a later frame m thetas are sent
    already: due = phi(z + bias) / theta + initial - 1/2 - rest - m, and n = m + round(due) where
    |due| >= 1/2 + dead_zone, at costs of digits(n - m).

    Args:
        z: Pre-activations, [N, C, ...].
        parameters: theta, initial, and where they are trained bias and rest: [C] each.
        cost: Operations per MAC of an event, [1, C or 1, ...]; None: they are not counted.
        slack, dead_zone: Settings of the recipe's neurons.
        before: m, [N, C, ...]; None in the first frame, which has no dead_zone.
    """
    shape, channels = z.shape[2:], z.shape[1]
    if phi.softmax:
        # The axis of a softmax is the last one, so it comes before channels are moved there.
        z, phi = phi(z), IDENTITY
    own: list[Tensor] = []
    for key in ("theta", "initial", "bias", "rest"):
        own.append(parameters.get(key, z.new_zeros(channels)).expand(channels))
    m = None
    if before is None:
        dead_zone = 0.0
    else:
        m = _rows(before)
    if cost is not None:
        cost = _rows(cost)[0]
    z, phi = _rows(z), phi.continuous
    fired: Callable[..., tuple[Tensor, Tensor]] = _plain
    if not phi.mish and z.device.type == "cpu" and z.dtype == torch.float32 and library():
        fired = _Fire.apply
    value, spent = fired(z, *own, m, cost, phi, slack, dead_zone)
    return value.reshape(len(z), *shape, channels).movedim(-1, 1), spent


def _plain(
    z: Tensor,
    theta: Tensor,
    initial: Tensor,
    bias: Tensor,
    rest: Tensor,
    m: Tensor | None,
    cost: Tensor | None,
    phi: Activation,
    slack: float,
    dead_zone: float,
) -> tuple[Tensor, Tensor]:
    """Do with PyTorch what `_Fire` does: z and m are rows, [N, positions, C], and costs
    [positions, C or 1].
    """
    if m is None:
        m = z.new_zeros(())
    # The value that was sent before does not change with theta.
    constant = (m * theta).detach()
    due = (phi(z + bias) - constant) / theta + (initial - 0.5 - rest)
    # A neuron sends at most what 8 bits hold, whatever is due beyond that.
    due = due.clamp(-LARGEST - m, LARGEST - m)
    with torch.no_grad():
        change = send(due, m, slack, dead_zone) - m
    value = (straight_through(change, due) + rest) * theta + constant
    if cost is None:
        return value, z.new_zeros(len(z))
    digits = straight_through(count_digits(change), smooth_digits(due / (1 + 2 * dead_zone)))
    # Sums in double: a search for thresholds would amplify differences by their order.
    return value, (digits * cost).double().sum((1, 2)).to(z.dtype)


class _Trained(ctypes.Structure):
    """The settings of a layer as training.c has them."""

    _fields_ = (
        *((name, c_int64) for name in ("images", "positions", "channels", "width", "parts")),
        *((name, c_void_p) for name in ("theta", "offset", "bias", "rest", "ceiling")),
        *((name, c_void_p) for name in ("cost", "before")),
        *((name, c_float) for name in ("slope", "slack", "least")),
        ("silu", c_int32),
    )


class _Fire(torch.autograd.Function):
    """`_plain` in C, in one pass over memory each way."""

    @staticmethod
    def forward(ctx, z, theta, initial, bias, rest, m, cost, phi, slack, dead_zone):  # type: ignore
        z, cap = z.contiguous(), math.inf if phi.cap is None else phi.cap
        values = theta, initial - 0.5 - rest, bias, rest, torch.full_like(theta, cap)
        memory: list[Tensor | None] = [F.pad(x, (0, LANES), value=1.0) for x in values]
        for x in (cost, m):
            memory.append(None if x is None else x.to(z.dtype).contiguous())
        ctx.memory, width = memory, 0 if cost is None else cost.shape[1]
        addresses = [None if x is None else x.data_ptr() for x in memory]
        least = 0.5 + dead_zone if dead_zone else 0.0
        how = phi.slope, slack, least, phi.silu
        ctx.settings = _Trained(*z.shape, width, PARTIAL_SUMS, *addresses, *how)
        ctx.save_for_backward(z, theta, initial, rest)
        value, spent = torch.empty_like(z), z.new_empty(len(z), PARTIAL_SUMS)
        ctx.call = ctypes.byref(ctx.settings), z.data_ptr(), torch.get_num_threads()
        library().values(*ctx.call, value.data_ptr(), spent.data_ptr())
        return value, spent.sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx, given, of_spent):  # type: ignore
        z, theta, initial, rest = ctx.saved_tensors
        given, of_spent = given.contiguous(), of_spent / math.log(8)
        result, size = torch.empty_like(z), -(-len(theta) // LANES) * LANES
        sums = z.new_zeros(len(z) * PARTIAL_SUMS, SUMS, size)
        library().gradients(*ctx.call, *map(Tensor.data_ptr, (given, of_spent, result, sums)))
        within, beyond, residue, of_bias, of_digits, moment = sums.sum(0)[:, : len(theta)]
        offset = initial - 0.5
        of_theta = residue + within * offset + beyond * rest
        of_theta -= (moment - (offset - rest) * of_digits) / theta
        of_initial = theta * within + of_digits
        return result, of_theta, of_initial, of_bias, theta * beyond - of_digits, *[None] * 5


def _rows(x: Tensor) -> Tensor:
    """[N, C, ...] as [N, positions, C]: a view where channels come last in memory."""
    return x.movedim(1, -1).reshape(len(x), -1, x.shape[1])


def smooth_digits(due: Tensor) -> Tensor:
    """About how many digits round(due) has: log2 |due| / 3 + 0.8 of large numbers, 0 of 0."""
    return torch.log2(1 + 32 * due.square()) / 6


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, smooth: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


def straight_through(value: Tensor, smooth: Tensor) -> Tensor:
    """`value`, with the gradient of `smooth`."""
    return _StraightThrough.apply(value, smooth)  # type: ignore[return-value]
