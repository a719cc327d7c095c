"""MSAT: the multi-stage adaptive threshold (draft paper, section 4.2, as its released code computes
it).

With Theta the layer's threshold, U the potential after the reset, Ubar its mean over time, z the
current:

    t = 0:   theta = Theta
    t >= 1:  u = tau_mp * [alpha * (U(t-1) - Ubar) - Theta
                           + ln(1 + exp(U(t-1) - Ubar))]             (DTT, Eq. 15)
               + tau_rd * exp(-z(t) / C)                                (DET, Eq. 16)
             theta(t) = Theta * sigmoid(u)

Where this differs from the draft: tau_rd is applied once, the current stands for V(t+1) - V(t), the
term exp(-|mu(V)|) is left out, as in the released code, and the sigmoid bounds what Eq. 17 leaves
unbounded.

The rule is not scale invariant: where U stays at its mean, theta settles at the fraction of Theta
that `threshold_ratio` gives, and Theta alone decides which. So it works on k U / Theta, k z /
Theta and V_T = -k, and the gain k is chosen for the network. The authors' released neuron works on
U and z as they are, which is k = Theta in each layer, with threshold.rule=max, scope=layer, and its
threshold has no floor.
"""

import math
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.rate.neurons.integrate_and_fire import IntegrateAndFire, room
from spiking_yolo.rate.neurons.layer import Clock, register
from spiking_yolo.recipe import Msat
from spiking_yolo.spikes.layout import collapse_equal, per_channel

LOG2E = math.log2(math.e)
# The smallest threshold, in theta: potentials are divided by it.
FLOOR = 1e-3
# The scale of the evoked threshold, as in the released code; k_i, which scales the logarithm in the
# draft, is 1 there.
C = 5.0


@register("msat")
class MsatIntegrateAndFire(IntegrateAndFire):
    """IF neuron whose threshold follows MSAT: it sends n * theta(t), a graded spike.

    Attributes:
        top: k as a tensor, the Theta of the rule.
        unit: Unit of the potential in the rule: Theta / k.
        total: Sum of the potentials over time.
        ratio: theta(t) / Theta.
        sent: Net value, in thetas.
    """

    top: Tensor
    unit: Tensor | float

    def start(self, z: Tensor) -> None:
        super().start(z)
        # A gain of 0 stands for what was calibrated for this layer.
        gain = self.recipe.msat.gain or self.parameters["gain"].item()
        unit = collapse_equal(self.theta).to(self.out.dtype) / gain
        self.unit = per_channel(unit, self.out)
        if unit.numel() == 1:
            self.unit = unit.item()
        self.top = self.p.theta.new_full((1,), gain)
        self.total, self.sent = torch.zeros_like(self.out), torch.zeros_like(self.out)
        self.ratio = torch.ones_like(self.out)

    def step(self, z: Tensor, clock: Clock) -> Tensor:
        if clock.t > 0:
            deviation = torch.add(self.potential, self.total, alpha=-1 / clock.t)
            current, unit = self.sign * z, self.unit
            if isinstance(unit, Tensor):
                deviation, current = deviation.div_(unit), current / unit
                unit = 1.0
            threshold_ratio(deviation, current, self.top, self.recipe.msat, self.ratio, unit)
        left = room(self.p.cap, clock.t + 1, self.sent, self.ratio)
        fired = self.fire(z, self.ratio * self.p.theta, left)
        self.tally.add(fired)
        self.total.add_(self.potential)
        out = fired.mul_(self.ratio)
        self.sent.add_(out)
        return out

    def side(self) -> dict[str, Any] | None:
        s = self.recipe.msat
        if s.tau_mp not in (0, 1):
            # A power of other exponents is left to PyTorch.
            return None
        unit = torch.as_tensor(self.unit, dtype=self.out.dtype)
        return self.in_c(
            MsatIntegrateAndFire,
            inverse=1 / unit,
            total=self.total,
            ratio=self.ratio,
            sent=self.sent,
            top=self.top.item(),
            alpha=s.alpha,
            tracking=s.tau_mp,
            evoked=s.tau_rd,
        )

    @property
    def threshold(self) -> Tensor:
        """theta(t) of the last step, [N, C, ...]."""
        return self.ratio * per_channel(self.theta, self.count)


def threshold_ratio(
    deviation: Tensor, current: Tensor, top: Tensor, s: Msat, out: Tensor, unit: float = 1.0
) -> Tensor:
    """theta(t) / Theta of Eq. 17 for t >= 1.

    sigmoid(u) is computed as A / (A + B) with exp(-u) = B / A, without a logarithm and by exp2,
    which is several times faster in PyTorch on a CPU than exp. With ln(1 + exp(x)) = max(x, 0) +
    ln(1 + exp(-|x|)): A = (1 + exp(-|d|)) ^ tau_mp and B = exp(tau_mp (Theta - alpha d -
    max(d, 0)) - DET). A lies in 1..2^tau_mp, so nothing overflows but B, where the
    ratio is 0.

    Args:
        deviation: U(t-1) - Ubar; it is overwritten.
        current: z(t).
        top: Theta, in the units of the rule, in which the others are when they are divided by unit.
        out: For the result.
    """
    if not (s.tau_mp or s.tau_rd):
        return out.fill_(1)
    # log2 of B but for the terms of d; slopes of -ln B over d < 0 and, in all, over d > 0.
    constant = top * (s.tau_mp * LOG2E)
    below = s.tau_mp * s.alpha
    above = below + s.tau_mp
    if s.tau_rd:
        evoked = torch.mul(current, -LOG2E / C / unit).exp2_()
        constant = torch.sub(constant, evoked, alpha=s.tau_rd * LOG2E)
    bent = torch.nn.functional.leaky_relu(deviation, below / (above or 1.0))
    b = torch.sub(constant, bent, alpha=above * LOG2E / unit, out=out).exp2_()
    a = deviation.abs_().mul_(-LOG2E / unit).exp2_().add_(1)
    if s.tau_mp != 1:
        a.pow_(s.tau_mp)
    return torch.div(a, b.add_(a), out=out).clamp_(min=FLOOR)
