"""Integrate-and-fire neurons with a fixed threshold, for ReLU.

State tensors are updated in place and spikes are written to `out`: fresh temporaries cost more than
the arithmetic.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.rate.library import MOST, library
from spiking_yolo.rate.neurons.layer import Clock, NeuronLayer, register
from spiking_yolo.spikes.layout import per_channel


def subtract(potential: Tensor, spikes: Tensor, theta: Tensor) -> None:
    """U -= n * theta (Rueckauer 2017): the sum of what was sent plus U is the sum of the input plus
    U(0).
    """
    potential.addcmul_(spikes, theta, value=-1)


def zero(potential: Tensor, spikes: Tensor, theta: Tensor) -> None:
    """U = 0 where the neuron fired (Diehl 2015): what exceeds the threshold is lost."""
    potential.masked_fill_(spikes > 0, 0.0)


# neuron.reset -> what it does to U after n spikes.
RESETS: dict[str, Callable[[Tensor, Tensor, Tensor], None]] = {"subtract": subtract, "zero": zero}


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


@register("if")
class IntegrateAndFire(NeuronLayer):
    """IF neuron for ReLU (Diehl 2015, Rueckauer 2017), reset by subtraction or to zero."""

    def step(self, z: Tensor, clock: Clock) -> Tensor:
        out = self.fire(z, self.p.theta, room(self.p.cap, clock.t + 1, self.count))
        self.tally.add(out)
        return out

    def side(self) -> dict[str, Any] | None:
        return self.in_c(IntegrateAndFire)

    def in_c(self, of: type, **more: Any) -> dict[str, Any] | None:
        """The fields of `library.Side`; None unless it steps as neurons of this class do.

        more: Fields in addition.
        """
        own, settings, tally = type(self), self.settings, self.tally
        same = all(getattr(own, name) is getattr(of, name) for name in ("step", "fire", "emit"))
        counted = settings.gamma < MOST and not (tally.events is not None and tally.by_channel)
        on_cpu = self.out.dtype == torch.float32 and self.out.device.type == "cpu"
        resets = RESETS[settings.reset] in (subtract, zero)
        if not (same and counted and on_cpu and resets and library()):
            return None
        return {
            "theta": self.p.theta,
            "shift": self.p.theta / (2 * settings.shift) if settings.shift else None,
            "cap": self.p.cap,
            "potential": self.potential,
            "count": tally.count,
            "sent": tally.count,
            "events": tally.events,
            "switches": tally.switches,
            "previous": tally.previous,
            "sign": self.sign,
            "gamma": settings.gamma,
            "zero": RESETS[settings.reset] is zero,
            **more,
        }

    def fire(self, z: Tensor, theta: Tensor, room: Tensor | None) -> Tensor:
        """U += z; n = clip(floor(U / theta), 0, gamma); U is reset where it fired.

        With neuron.shift U += theta / (2 shift) as well (Deng and Gu 2021). room: How often it may
        fire at most. Returns n, [N, C, ...].
        """
        potential, settings = self.potential, self.settings
        if settings.shift:
            potential.add_(self.p.theta / (2 * settings.shift))
        potential.add_(z, alpha=self.sign)
        if settings.gamma == 1:
            out = torch.ge(potential, theta, out=self.out).to(potential)
        else:
            out = torch.div(potential, theta, out=self.out).floor_().clamp_(0, settings.gamma)
        if room is not None:
            torch.minimum(out, room, out=out)
        RESETS[settings.reset](potential, out, theta)
        return out


@register("ibt")
class ImbalancedThreshold(IntegrateAndFire):
    """IBT neuron of Spiking-YOLO for leaky ReLU with slope alpha (Kim 2020, section 4.2).

    n = +k at U >= k * theta, -k at U <= -k * theta / alpha, |n| <= gamma; U loses the threshold
    that was crossed (n * theta or n * theta / alpha), and n * theta is sent. Without a slope it is
    an IF neuron.
    """

    def step(self, z: Tensor, clock: Clock) -> Tensor:
        if not self.slope:
            return super().step(z, clock)
        potential, theta, gamma = self.potential.add_(z), self.p.theta, self.settings.gamma
        crossed = F.leaky_relu_(torch.div(potential, theta, out=self.out), self.slope)
        out = crossed.trunc_().clamp_(-gamma, gamma)
        potential.addcmul_(F.leaky_relu(out, 1 / self.slope), theta, value=-1)
        self.tally.add(out.abs())
        return out

    def rate_grid(self, current: Tensor, thetas: Sequence[Tensor], T: int) -> Tensor:
        if not self.slope:
            return super().rate_grid(current, thetas, T)
        start = per_channel(self.initial, current)
        return self._bounded(self.phi(current * T / thetas[0] + start).trunc(), thetas[0], T)
