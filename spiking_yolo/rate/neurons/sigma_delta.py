"""Sigma-delta neurons: signed, they remember what they have sent and send what has changed."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.rate.neurons.layer import Clock, NeuronLayer, register


@register("sigma-delta")
class SigmaDelta(NeuronLayer):
    """Sigma-delta neuron: it sends the change of phi(S), S the sum of its input, as signed spikes.

    n = clip(floor(due / q + u0), -gamma, gamma) of what is due, q the value of a spike and u0 the
    initial potential, in thetas; m += n q. What it has sent, m, follows phi(S), whatever order the
    input came in (after Wang 2022 and O'Connor and Welling 2017). For (leaky) ReLU, with a cap or
    without, SiLU and mish.
    """

    def start(self, z: Tensor) -> None:
        super().start(z)
        self.potential.zero_()
        # The net value that was sent, in thetas.
        self.sent = torch.zeros_like(self.out)

    def step(self, z: Tensor, clock: Clock) -> Tensor:
        due = self.due(z).div_(clock.spike_weight)
        n = due.add_(self.p.initial).floor_().clamp_(-self.settings.gamma, self.settings.gamma)
        self.tally.add(n.abs())
        out = n.mul_(clock.spike_weight)
        self.sent.add_(out)
        return out

    def due(self, z: Tensor) -> Tensor:
        """Compute what is still to be sent, in thetas, after z has arrived: phi(S) / theta - m.

        S is the pre-activation itself, so that of an activation with a cap min(relu(S), cap) is
        due, and of SiLU and mish S * factor(S), see `graph.Gate`.
        """
        if self.plan.reads_sums:
            self.potential = z
        else:
            self.potential.add_(z)
        out = torch.div(self.potential, self.p.theta, out=self.out)
        if self.phi.gate is not None:
            out.mul_(self.phi.gate.factor(self.potential))
        elif self.slope:
            F.leaky_relu_(out, self.slope)
        else:
            out.relu_()
        if self.p.cap is not None:
            out = torch.minimum(out, self.p.cap, out=out)
        return out.sub_(self.sent)


# The thresholds are theta, theta / 2, ..., theta / 128.
NUM_THRESHOLDS = 8
# A neuron fires at this share of a threshold, halfway between it and the next.
FIRES_AT = 0.75


def multi_threshold_spike(due: Tensor, least: Tensor | None) -> Tensor:
    """One spike +-2^-k, k = 0..7, or 0: with the largest 2^-k <= |due| / 0.75.

    due: What is due, in thetas. least: Bound on the size of a negative spike; None: no bound.
    """
    size = due.abs() / FIRES_AT
    if least is not None:
        size = torch.where(due < 0, torch.minimum(size, least), size)
    power = (size >= 2.0 ** (1 - NUM_THRESHOLDS)).to(due) * 2.0 ** (1 - NUM_THRESHOLDS)
    for k in range(NUM_THRESHOLDS - 1):
        # A power of two is twice the next smaller one.
        power += (size >= 2.0**-k).to(due) * 2.0 ** -(k + 1)
    return power * due.sign()


@register("dcgs")
class MultiThreshold(SigmaDelta):
    """DCGS: sends one of 8 powers of two, with a sign; in step t it changes the mean by a t-th.

    Released rule, for ReLU: mem += x(t) - bias + exp_in - exp_out, exp_in += (x(t) - bias) / t,
    exp_out += s(t) / t. Summed up, mem is t (S - m) with S = exp_in, the sum of what arrives (which
    is x(t) / t here, since what travels is s(t) / t), and m = exp_out, what was sent. A negative
    spike needs as much sent before, t m >= theta / 2^k, so that no mean becomes negative, and t
    (relu(S) - m), which is computed here, gives the same spikes. For leaky ReLU it is t (phi(S) -
    m), without that bound: ours, the paper has ReLU only.
    """

    # The value that is due grows with t until it is sent.
    settles: ClassVar[bool] = False

    def step(self, z: Tensor, clock: Clock) -> Tensor:
        t = clock.t + 1
        due = self.due(z).mul_(t)
        least = None if self.slope else self.sent * t
        fired = multi_threshold_spike(due, least)
        self.tally.add((fired != 0).to(fired))
        out = fired.div_(t)
        self.sent.add_(out)
        return out
