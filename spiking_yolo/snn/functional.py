"""One timestep of each neuron, as pure arithmetic on tensors.

State tensors are updated in place and the spikes are written to `out`: fresh temporaries cost more
than the arithmetic. With `out` None a tensor is made. `theta` broadcasts against the state.
Functions return what is sent in thetas: n spikes, or n * q with spikes worth q.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def integrate_and_fire(
    potential: Tensor,
    current: Tensor,
    theta: Tensor,
    gamma: int,
    out: Tensor | None,
    reset: "Reset | None" = None,
    room: Tensor | None = None,
    sign: int = 1,
) -> Tensor:
    """IF: U += z; n = clip(floor(U / theta), 0, gamma); U is reset where it fired (Diehl 2015).

    reset: see RESETS; by subtraction if None. room: how often it may fire at most. sign: of the
    current, -1 for a neuron that integrates -z.
    """
    potential.add_(current, alpha=sign)
    if gamma == 1:
        out = torch.ge(potential, theta, out=out).to(potential)
    else:
        out = torch.div(potential, theta, out=out).floor_().clamp_(0, gamma)
    if room is not None:
        torch.minimum(out, room, out=out)
    (reset or subtract)(potential, out, theta)
    return out


Reset = Callable[[Tensor, Tensor, Tensor], Any]


def subtract(potential: Tensor, spikes: Tensor, theta: Tensor) -> None:
    """U -= n * theta (Rueckauer 2017): the sum of what was sent plus U is the sum of the input plus
    U(0).
    """
    potential.addcmul_(spikes, theta, value=-1)


def zero(potential: Tensor, spikes: Tensor, theta: Tensor) -> None:
    """U = 0 where the neuron fired (Diehl 2015): what exceeds the threshold is lost."""
    potential.masked_fill_(spikes > 0, 0.0)


# neuron.reset -> what it does to U after n spikes.
RESETS: dict[str, Reset] = {"subtract": subtract, "zero": zero}


def room(cap: Tensor | None, t: int, sent: Tensor, unit: Tensor | float = 1.0) -> Tensor | None:
    """Spikes that an IF neuron may still fire below the cap of its activation: round((cap t - sent)
    / unit); None without a cap.

    An activation phi(z) = min(relu(z), cap) bounds what is sent in t steps to cap * t, to the
    nearest spike; the neuron keeps the excess in its potential. The bound is on the sum and
    not on the step: a neuron that was late may catch up. `sent` is the sum so far, `unit` the value
    of a spike.
    """
    if cap is None:
        return None
    return ((cap * t - sent) / unit + 0.5).floor_().clamp_(min=0)


def imbalanced_threshold(
    potential: Tensor, current: Tensor, theta: Tensor, slope: float, gamma: int, out: Tensor | None
) -> Tensor:
    """Signed neuron of Spiking-YOLO (Kim 2020, section 4.2) for leaky ReLU with slope alpha.

    n = +k at U >= k * theta, -k at U <= -k * theta / alpha, |n| <= gamma; U loses the threshold
    that was crossed (n * theta or n * theta / alpha), and n * theta is sent.
    """
    potential.add_(current)
    out = F.leaky_relu_(torch.div(potential, theta, out=out), slope).trunc_().clamp_(-gamma, gamma)
    potential.addcmul_(F.leaky_relu(out, 1 / slope), theta, value=-1)
    return out
