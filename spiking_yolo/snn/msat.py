"""MSAT: the multi-stage adaptive threshold (draft paper, section 4.2, as its released code computes
it).

With Theta the layer's threshold, U the potential after the reset, Ubar its mean over time, z the
current:

    t = 0:   theta = Theta
    t >= 1:  u = tau_mp * [alpha * (U(t-1) - Ubar) - Theta
                           + k_a * ln(1 + exp((U(t-1) - Ubar) / k_i))]     (DTT, Eq. 15)
               + tau_rd * exp(-z(t) / C)                                (DET, Eq. 16)
             theta(t) = Theta * sigmoid(u)

Where this differs from the draft: tau_rd is applied once, the current stands for V(t+1) - V(t), and
the sigmoid bounds what Eq. 17 leaves unbounded.

The rule is not scale invariant: where U stays at its mean, theta settles at the fraction of Theta
that `fraction_at_rest` gives, and Theta alone decides which. So units=normalised, with the gain k,
works on k U / Theta, k z / Theta and V_T = -k (k = 1 is identical to raw units at Theta = 1), and k
is chosen for the network. units=raw multiplies U, z and Theta by k.

The authors' released neuron is units=raw, gain=1, floor=0, stages=0, mu=false and confidence=off,
with neuron.gamma=1, neuron.initial=0, reset by subtraction and threshold.rule=max, scope=layer: the
spikes are then the same ones, and the thresholds the same up to rounding. Its files of spike
confidence are 1 everywhere but in the last layer.
"""

import math

import torch
from torch import Tensor

from spiking_yolo.recipe import Msat
from spiking_yolo.snn.layout import to_like

LOG2E = math.log2(math.e)


def threshold_ratio(
    deviation: Tensor,
    mean: Tensor | None,
    current: Tensor | None,
    top: Tensor,
    s: Msat,
    out: Tensor | None = None,
    work: Tensor | None = None,
    unit: float = 1.0,
    sign: int = 1,
    constant: Tensor | None = None,
) -> Tensor:
    """theta(t) / Theta of Eq. 17 for t >= 1.

    deviation: U(t-1) - Ubar; mean: Ubar, for s.mu; current: z(t), None for no input; top: Theta;
    all in the units of the rule, when they are divided by `unit` (but for top). sign: what the
    current is multiplied with. constant: what `without_potential` gives, where it is known already
    and the current is not needed. The deviation and `work` are overwritten.

    sigmoid(u) is computed as A / (A + B) with exp(-u) = B / A, without a logarithm and by exp2,
    which is several times faster in PyTorch on a CPU than exp. With ln(1 + exp(x)) = max(x, 0) +
    ln(1 + exp(-|x|)) and p = tau_mp k_a: A = (1 + exp(-|d| / k_i)) ^ p and B = exp(tau_mp (Theta -
    alpha d) - p max(d, 0) / k_i - DET). A lies in 1..2^p, so nothing overflows but B, where the
    ratio is 0.
    """
    u = torch.empty_like(deviation) if out is None else out
    if not (s.dtt or s.det):
        return u.fill_(1)
    if constant is None:
        constant = without_potential(current, top, s, u, work, unit, sign)
    if s.det and s.mu and mean is not None:
        constant = torch.sub(constant, torch.exp(-mean.abs() / unit), alpha=s.tau_rd * LOG2E)
    power = s.tau_mp * s.k_a if s.dtt else 0.0
    # Slope of -ln B over d < 0, and above for d > 0.
    below = s.tau_mp * s.alpha if s.dtt else 0.0
    above = below + power / s.k_i
    bent = torch.ops.aten.leaky_relu(deviation, below / above if above else 0.0, **_into(work))
    b = torch.sub(constant, bent, alpha=above * LOG2E / unit, out=u).exp2_()
    a = deviation.abs_().mul_(-LOG2E / s.k_i / unit).exp2_().add_(1)
    if power != 1:
        a.pow_(power)
    ratio = torch.div(a, b.add_(a), out=u).clamp_(min=s.floor)
    return ratio.log2_().round_().clamp_(min=-s.stages).exp2_() if s.stages else ratio


def without_potential(
    current: Tensor | None,
    top: Tensor,
    s: Msat,
    out: Tensor,
    work: Tensor | None,
    unit: Tensor | float = 1.0,
    sign: int = 1,
) -> Tensor:
    """log2 of B in threshold_ratio but for the terms of d and the mean, written to `out`; arguments
    as there.
    """
    rest = (s.tau_mp * LOG2E * top) if s.dtt else torch.zeros_like(top)
    if s.det and current is not None:
        evoked = torch.mul(current, -sign * LOG2E / s.c / unit, out=work).exp2_()
        return torch.add(rest, evoked, alpha=-s.tau_rd * LOG2E, out=out)
    return out.copy_(rest - s.tau_rd * LOG2E if s.det else rest)


def _into(out: Tensor | None) -> dict[str, Tensor]:
    return {} if out is None else {"out": out}


def stage_cuts(top: Tensor, s: Msat) -> list[Tensor]:
    """From which deviation on the ratio is at least 2^-k, for k = 0..s.stages - 1; for DTT alone.

    Found by bisection of threshold_ratio itself, down to its rounding, in the dtype of `top`: so a
    comparison decides what the exponentials and the logarithm would have given.
    """
    cuts = []
    for k in range(s.stages):
        low, high = torch.full_like(top, -(2.0**20)), torch.full_like(top, 2.0**20)
        for _ in range(80):
            middle = (low + high) / 2
            reached = threshold_ratio(middle.clone(), None, None, top, s) >= 2.0**-k
            low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
        never = threshold_ratio(high.clone(), None, None, top, s) < 2.0**-k
        cuts.append(high.masked_fill_(never, float("inf")))
    return cuts


def staged_ratio(
    deviation: Tensor, cuts: list[Tensor], out: Tensor, reached: Tensor | None
) -> Tensor:
    """The ratio by comparisons: 2^-k from the k-th cut on, half of the last one below all; see
    stage_cuts.

    reached: a tensor to work in.
    """
    least = 2.0 ** -len(cuts)
    torch.ge(deviation, cuts[-1], out=out).mul_(least).add_(least)
    for k, cut in enumerate(cuts[:-1], 1):
        out.add_(torch.ge(deviation, cut, out=reached), alpha=2.0**-k)
    return out


def scale_of(theta: Tensor, s: Msat, gain: float) -> Tensor:
    """Theta in the units of the rule, V_T = -that: [C], or one value where it does not depend on
    theta [C].
    """
    return gain * (theta if s.units == "raw" else torch.ones_like(theta[:1]))


def fraction_at_rest(top: Tensor, s: Msat) -> Tensor:
    """theta(1) / Theta of a neuron that receives little: U = Ubar, z = 0. top: Theta in the units
    of the rule.

    It is sigmoid(ln 2 - Theta) with the paper's DTT, and sigmoid(ln 2 + 1 - Theta) with DET too.
    """
    return threshold_ratio(torch.zeros_like(top), torch.zeros_like(top), None, top, s)


def gain_for(fraction: float, s: Msat) -> float:
    """The k of normalised units at which DTT gives this fraction at rest, in 0..1."""
    return (
        s.tau_mp * s.k_a * math.log(2) + s.tau_rd * s.det + math.log(1 / fraction - 1)
    ) / s.tau_mp


class MsatThreshold:
    """theta(t) / Theta of the neurons of a layer, from the history of their potential."""

    def __init__(
        self, settings: Msat, theta: Tensor, in_thresholds: bool, gain: float, like: Tensor
    ):
        """theta: Theta, one value or [C], on the host. in_thresholds: the unit of the potentials
        and currents that will be given; otherwise they are in the units of the ANN. like: of their
        dtype and on their device.
        """
        raw, top = settings.units == "raw", scale_of(theta, settings, gain)
        unit = (
            torch.ones_like(theta[:1]) if raw != in_thresholds else 1 / theta if raw else theta
        ) / gain
        # what is given, divided by this, is in the units of the rule
        self.unit = unit.item() if unit.numel() == 1 else to_like(unit, like)
        by_comparison = settings.stages and settings.dtt and not settings.det and top.numel() == 1
        self._cuts = (
            [to_like(cut, like) for cut in stage_cuts(top, settings)] if by_comparison else []
        )
        self.settings, self.top = settings, to_like(top, like)

    @property
    def first(self) -> float:
        """The ratio in the first step."""
        return 0.5 if self.settings.variant == "algorithm1" else 1.0

    def eq17(
        self,
        deviation: Tensor,
        mean: Tensor | None,
        current: Tensor | None,
        out: Tensor,
        work: Tensor | None,
        sign: int = 1,
        constant: Tensor | None = None,
    ) -> Tensor:
        """Eq. 17; see threshold_ratio. The deviation and `work` are overwritten."""
        if isinstance(self.unit, Tensor):
            deviation.div_(self.unit)
            mean = None if mean is None else mean / self.unit
            current = None if current is None else current / self.unit
        unit = 1.0 if isinstance(self.unit, Tensor) else self.unit
        if self._cuts:
            return staged_ratio(
                deviation if unit == 1 else deviation.div_(unit), self._cuts, out, work
            )
        return threshold_ratio(
            deviation, mean, current, self.top, self.settings, out, work, unit, sign, constant
        )

    def algorithm1(self, ratio: Tensor, sent: Tensor, potential: Tensor) -> Tensor:
        """Algorithm 1 in our reading, in place: theta(t+1) = max(theta(t) + g * (R(t) - U(t)),
        floor * Theta).

        theta(0) = Theta / 2. sent: R, the mean of the values sent so far; it and the potential are
        in thresholds.
        """
        return ratio.add_(sent - potential, alpha=self.settings.g).clamp_(min=self.settings.floor)

    def at_rest(self, potential: Tensor) -> Tensor:
        """What the ratio tends to while the potential stays as it is and nothing is received."""
        return threshold_ratio(
            torch.zeros_like(potential), potential / self.unit, None, self.top, self.settings
        )
