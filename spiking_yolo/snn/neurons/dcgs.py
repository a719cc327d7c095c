"""The multi-threshold neuron of differential coding with graded spikes (DCGS, ICML 2025)."""

from typing import Any

import torch
from torch import Tensor

from spiking_yolo.snn.neurons.kinds import register
from spiking_yolo.snn.neurons.signed_memory import MemoryState, SignedMemory
from spiking_yolo.snn.state import Buffers, Clock, Parameters

THRESHOLDS = 8  # theta, theta / 2, ..., theta / 128
FIRES_AT = 0.75  # of a threshold, halfway between it and the next


def multi_threshold_spike(due: Tensor, least: Tensor | None) -> Tensor:
    """One spike +-2^-k, k = 0..7, or 0: with the largest 2^-k <= |due| / 0.75.

    due: in thetas. least: a negative spike is at most as large; None: no such bound.
    """
    size = due.abs() / FIRES_AT
    if least is not None:
        size = torch.where(due < 0, torch.minimum(size, least), size)
    power = (size >= 2.0 ** (1 - THRESHOLDS)).to(due) * 2.0 ** (1 - THRESHOLDS)
    for k in range(THRESHOLDS - 1):
        power += (size >= 2.0**-k).to(due) * 2.0 ** -(k + 1)  # twice the next smaller one
    return power * due.sign()


@register("dcgs", follows=("slope", "cap"))
class MultiThreshold(SignedMemory):
    """Sends one of 8 powers of two, with a sign, in each step; a spike of step t changes the mean by its t-th part.

    Released rule, for ReLU: mem += x(t) - bias + exp_in - exp_out, exp_in += (x(t) - bias) / t, exp_out += s(t) / t.
    Summed up, mem is t (S - m) with S = exp_in, the sum of what arrives (which is x(t) / t here, since what travels is
    s(t) / t), and m = exp_out, what was sent. A negative spike needs as much sent before, t m >= theta / 2^k, so that
    no mean becomes negative, and t (relu(S) - m), which is computed here, gives the same spikes. For leaky ReLU it is
    t (phi(S) - m), without that bound: ours, the paper has ReLU only.
    """

    def step(self, s: MemoryState, p: Parameters, z: Tensor | None, clock: Clock, buffers: Buffers) -> Tensor:
        t: Any = clock.t + 1
        due = self.due(s, p, self.total(s, z), clock.time, buffers.a).mul_(t)
        fired = multi_threshold_spike(due, None if self.slope else s.sent * t)
        s.tally((fired != 0).to(fired))
        out = fired / t if buffers.out is None else torch.div(fired, t, out=buffers.out)
        s.sent.add_(out)
        return out

    def quiet(self) -> bool:
        """Never for good: what is due grows with t until it is sent."""
        return False
