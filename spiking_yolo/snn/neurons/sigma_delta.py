"""Sigma-delta neurons: signed, they remember what they have sent and send what has changed."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.snn.neurons.build import register
from spiking_yolo.snn.neurons.layer import NeuronLayer
from spiking_yolo.snn.state import Buffers, Clock, Parameters, State, tensor


@dataclass(kw_only=True)
class SigmaDeltaState(State):
    """The state of a SigmaDelta.

    potential: Sum of the input; None if the pooling before the layer keeps it. sent: Net value that
    was sent, in thetas.
    """

    potential: Tensor | None = tensor(optional=True)
    sent: Tensor = tensor()


@register("sigma-delta")
class SigmaDelta(NeuronLayer):
    """Sigma-delta neuron: it sends the change of phi(S), S the sum of its input, as signed spikes.

    n = clip(floor(due / q + u0), -gamma, gamma) of what is due, q the value of a spike and u0 the
    initial potential, in thetas; m += n q. What it has sent, m, follows phi(S), whatever order the
    input came in (after Wang 2022 and O'Connor and Welling 2017). For (leaky) ReLU, with a cap or
    without, SiLU, mish and softmax.
    """

    state_type: ClassVar[type[Any]] = SigmaDeltaState
    differential: ClassVar[bool] = True

    def unneeded(self) -> tuple[str, ...]:
        without = super().unneeded()
        if self.reads_sums:
            without += ("potential",)
        return without

    def start(self, s: SigmaDeltaState, p: Parameters, z: Tensor | None, buffers: Buffers) -> None:
        """What was sent and the sum of the input start at zero."""

    def step(
        self, s: SigmaDeltaState, p: Parameters, z: Tensor | None, clock: Clock, buffers: Buffers
    ) -> Tensor:
        due = self.due(s, p, z, buffers.out).div_(clock.spike_weight)
        n = due.add_(p.initial).floor_().clamp_(-self.settings.gamma, self.settings.gamma)
        s.tally(torch.abs(n, out=buffers.a))
        out = n.mul_(clock.spike_weight)
        s.sent.add_(out)
        return out

    def due(
        self, s: SigmaDeltaState, p: Parameters, z: Tensor | None, out: Tensor | None
    ) -> Tensor:
        """What has not been sent yet, in thetas, after z has arrived: phi(S) / theta - m.

        S is the pre-activation itself, so that of an activation with a cap min(relu(S), cap) is
        due, and of SiLU and mish S * factor(S), see `graph.Gate`.
        """
        total = z
        if s.potential is not None:
            total = s.potential
            if z is not None:
                total.add_(z)
        assert total is not None
        out = torch.div(total, p.theta, out=out)
        if self.phi.gate is not None:
            out.mul_(self.phi.gate.factor(total))
        elif self.slope:
            F.leaky_relu_(out, self.slope)
        else:
            out.relu_()
        if p.cap is not None:
            out = torch.minimum(out, p.cap, out=out)
        return out.sub_(s.sent)


# theta, theta / 2, ..., theta / 128.
NUM_THRESHOLDS = 8
# Of a threshold, halfway between it and the next.
FIRES_AT = 0.75


def multi_threshold_spike(due: Tensor, least: Tensor | None) -> Tensor:
    """One spike +-2^-k, k = 0..7, or 0: with the largest 2^-k <= |due| / 0.75.

    due: In thetas. least: Bound on the size of a negative spike; None: no such bound.
    """
    size = due.abs() / FIRES_AT
    if least is not None:
        size = torch.where(due < 0, torch.minimum(size, least), size)
    power = (size >= 2.0 ** (1 - NUM_THRESHOLDS)).to(due) * 2.0 ** (1 - NUM_THRESHOLDS)
    for k in range(NUM_THRESHOLDS - 1):
        # Twice the next smaller one.
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

    def step(
        self, s: SigmaDeltaState, p: Parameters, z: Tensor | None, clock: Clock, buffers: Buffers
    ) -> Tensor:
        t = clock.t + 1
        due = self.due(s, p, z, buffers.a).mul_(t)
        least = None
        if not self.slope:
            least = s.sent * t
        fired = multi_threshold_spike(due, least)
        s.tally((fired != 0).to(fired))
        out = torch.div(fired, t, out=buffers.out)
        s.sent.add_(out)
        return out

    def settles(self) -> bool:
        """False: what is due grows with t until it is sent."""
        return False
