"""MSAT: the multi-stage adaptive threshold (draft paper, section 4.2, as its released code computes it).

With Theta the layer's threshold, U the potential after the reset, Ubar its mean over time, z the current:

    t = 0:   theta = Theta
    t >= 1:  u = tau_mp * [alpha * (U(t-1) - Ubar) - Theta + k_a * ln(1 + exp((U(t-1) - Ubar) / k_i))]     (DTT, Eq. 15)
               + tau_rd * exp(-z(t) / C)                                                                   (DET, Eq. 16)
             theta(t) = Theta * sigmoid(u)

Where this differs from the draft: tau_rd is applied once, the current stands for V(t+1) - V(t), and the sigmoid bounds
what Eq. 17 leaves unbounded. The rule is not scale invariant; units=normalised divides U, Ubar, z and V_T by Theta, and
is identical to raw units at Theta = 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..recipe import Msat


def threshold_ratio(deviation: Tensor, mean: Tensor, current: Tensor | None, top: Tensor, s: Msat) -> Tensor:
    """theta(t) / Theta of Eq. 17 for t >= 1.

    deviation: U(t-1) - Ubar; mean: Ubar; current: z(t), None for no input; top: Theta; all in the units of the rule.
    """
    if not (s.dtt or s.det):
        return torch.ones_like(deviation)
    u = torch.zeros_like(deviation)
    if s.dtt:
        tracking = s.alpha * deviation - top + s.k_a * F.softplus(deviation / s.k_i)
        u += s.tau_mp * tracking
    if s.det:
        u += s.tau_rd * (torch.exp(-current / s.c) if current is not None else 1.0)
        if s.mu:
            u += s.tau_rd * torch.exp(-mean.abs())
    ratio = torch.sigmoid(u).clamp_(min=s.floor)
    return torch.exp2(ratio.log2_().round_().clamp_(min=-s.stages)) if s.stages else ratio


class AdaptiveThreshold:
    """theta(t) / Theta of every neuron of a layer, from the history of its potential.

    variant=algorithm1 is our reading of the draft's Algorithm 1: theta(0) = Theta / 2, theta(t+1) = max(theta(t) + g *
    (R(t) - U(t)), floor * Theta), with R the mean of the values sent so far.
    """

    def __init__(self, settings: Msat, theta: Tensor):
        """theta: Theta, in a shape that broadcasts against the state."""
        self.settings = settings
        raw = settings.units == "raw"
        self.unit = torch.ones_like(theta) if raw else theta  # what potentials are divided by
        self.top = theta / self.unit
        self.steps = 0

    def reset(self, like: Tensor) -> None:
        self.steps = 0
        self.total, self.last, self.sent = (torch.zeros_like(like) for _ in range(3))
        first = 0.5 if self.settings.variant == "algorithm1" else 1.0
        self.ratio = torch.full_like(like, first)

    def update(self, current: Tensor | None, potential: Tensor | None = None) -> Tensor:
        """theta / Theta for the step that receives `current`.

        potential: what takes the place of U(t-1) in Eq. 15, for neurons whose threshold tracks the potential that the
        spikes of this step will answer. In the units of the ANN.
        """
        if self.steps and self.settings.variant == "eq17":
            mean = self.total / self.steps
            z = None if current is None else current / self.unit
            tracked = self.last if potential is None else potential / self.unit
            self.ratio = threshold_ratio(tracked - mean, mean, z, self.top, self.settings)
        elif self.steps:
            gain = self.settings.g * (self.sent / self.steps - self.last) / self.top
            self.ratio = (self.ratio + gain).clamp_(min=self.settings.floor)
        return self.ratio

    def at_rest(self) -> Tensor:
        """What the ratio tends to while the potential stays as it is and nothing is received."""
        if self.settings.variant != "eq17" or not self.steps:
            return self.ratio
        return threshold_ratio(torch.zeros_like(self.last), self.last, None, self.top, self.settings)

    def observe(self, potential: Tensor, sent: Tensor) -> None:
        """potential: U after the reset. sent: what was sent in this step. Both in the units of the ANN."""
        self.steps += 1
        torch.div(potential, self.unit, out=self.last)
        self.total += self.last
        self.sent += sent / self.unit

    def rest(self) -> None:
        """A step without input or spikes: the potential stays what it was."""
        self.steps += 1
        self.total += self.last
