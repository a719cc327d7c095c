"""Sigma-delta neurons: signed, they remember what they have sent and send what has changed."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spiking_yolo.recipe import MAX_GAMMA
from spiking_yolo.snn import functional as F
from spiking_yolo.snn.fast import EventNeurons
from spiking_yolo.snn.layout import SparseRows, dense, rows
from spiking_yolo.snn.neurons.build import register
from spiking_yolo.snn.neurons.layer import NeuronLayer
from spiking_yolo.snn.state import Buffers, Clock, Parameters, State, map_tree, tensor


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

    What it has sent follows phi of the sum of its input, whatever order that came in (after Wang
    2022 and O'Connor and Welling 2017). For (leaky) ReLU, with a cap or without, SiLU, mish and
    softmax.

    It may have a resting value, [C]: what is due is counted from there, and
    the next layers know it as they know their biases. It does not depend on the image, so it costs
    no event and no operation: in each neuron of the next layer it is one constant, computed
    beforehand (a map, since at the border a kernel receives less of it). The first step of a run
    returns n + rest, of which n is tallied.
    """

    state_type: ClassVar[type[Any]] = SigmaDeltaState
    differential: ClassVar[bool] = True
    _kernel: EventNeurons | None = None

    def unneeded(self) -> tuple[str, ...]:
        without = super().unneeded()
        if self.reads_sums:
            without += ("potential",)
        return without

    def start(self, s: SigmaDeltaState, p: Parameters, z: Tensor | None, buffers: Buffers) -> None:
        """The sum of the input starts at zero, what was sent at the resting value.

        `initial` is what is added before rounding down.
        """
        if p.rest is not None:
            s.sent.copy_(p.rest)

    def step(
        self, s: SigmaDeltaState, p: Parameters, z: Tensor | None, clock: Clock, buffers: Buffers
    ) -> Tensor:
        due = self.due(s, p, self.total(s, z), buffers.out)
        hysteresis = clock.hysteresis * self.settings.hysteresis
        out, spikes = F.send(
            due, s.sent, p.initial, self.settings, due, buffers.a, clock.spike_weight, hysteresis
        )
        s.tally(spikes)
        if clock.first and p.rest is not None:
            out.add_(p.rest)
        return out

    def bind(self, p: Parameters) -> None:
        plain = (
            type(self).step is SigmaDelta.step
            and type(self).due is SigmaDelta.due
            and self.complete
            and self.phi.monotone
        )
        self._kernel = None
        kernels, state = self.backend.kernels, map_tree(rows, self.state)
        if plain and kernels is not None and EventNeurons.serves(state, p):
            self._kernel = EventNeurons(kernels, state, p, self.settings, self.slope)

    def kernel(self, current: Tensor | SparseRows, clock: Clock) -> Tensor | SparseRows | None:
        if self._kernel is None or clock.spike_weight != 1:
            return None
        if clock.first:
            return self._kernel.start(dense(current), self.out)
        return self._kernel(current, clock.hysteresis * self.settings.hysteresis)

    def total(self, s: SigmaDeltaState, z: Tensor | None) -> Tensor:
        """The sum of all input, with what arrives now: z itself for a layer that reads sums."""
        if s.potential is None:
            assert z is not None
            return z
        if z is not None:
            s.potential.add_(z)
        return s.potential

    def settles(self) -> bool:
        # In the first step a zero may be the resting value and a spike that cancels it.
        has_sent_rest = self.t == 1 and hasattr(self, "rest")
        return self.complete or (self.silent() and not has_sent_rest)

    @property
    def complete(self) -> bool:
        """Whether all that is due is sent in every step, so that without input nothing happens."""
        n = self.settings
        return n.events == "digits" and n.gamma == MAX_GAMMA

    def due(self, s: SigmaDeltaState, p: Parameters, total: Tensor, out: Tensor | None) -> Tensor:
        """What has not been sent yet, in thetas."""
        factor = self.phi.gate and self.phi.gate.factor
        return F.unsent(total, s.sent, p.theta, self.slope, out, p.cap, factor)


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
        due = self.due(s, p, self.total(s, z), buffers.a).mul_(t)
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


@register("multi-level")
@register("few-spikes")
class FewSpikes(SigmaDelta):
    """Sends n = clip(floor(phi(S) / theta), 0, gamma), as its binary digits or as one message.

    As digits, with gamma = 2^K - 1, it is the FS neuron with T(k) = h(k) = d(k) = alpha 2^-k, k =
    1..K (section "Design of FS-neurons", ReLU), and theta = alpha / 2^K: K sub-steps, in each of
    which it fires if alpha 2^-k is still to be sent. Layers follow one another, so what arrives is
    complete too, and nothing is left for a second step. On leaky ReLU an ON/OFF pair would share
    the work, of which one is silent, the input being complete: so it is one neuron here, whose
    spikes have a sign.
    """

    def step(
        self, s: SigmaDeltaState, p: Parameters, z: Tensor | None, clock: Clock, buffers: Buffers
    ) -> Tensor:
        phi = F.unsent(self.total(s, z), 0.0, p.theta, self.slope, buffers.a, p.cap)
        size = torch.abs(phi).add_(p.initial).floor_().clamp_(max=self.settings.gamma)
        value = size.mul_(phi.sign())
        out = torch.sub(value, s.sent, out=buffers.out)
        s.tally(out.abs(), self.digits)
        s.sent.copy_(value)
        return out
