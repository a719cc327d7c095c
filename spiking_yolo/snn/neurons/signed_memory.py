"""Signed neurons that remember what they have sent."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spiking_yolo.recipe import MOST
from spiking_yolo.snn import step as F
from spiking_yolo.snn.backend.active import Active
from spiking_yolo.snn.backend.events import EventNeurons
from spiking_yolo.snn.backend.layout import per_channel
from spiking_yolo.snn.neurons.layer import NeuronLayer
from spiking_yolo.snn.state import Buffers, Clock, Parameters, State, tensor


@dataclass(kw_only=True)
class MemoryState(State):
    """potential: the sum of the input; None if the pooling before the layer keeps it. sent: net value, in thetas."""

    potential: Tensor | None = tensor(optional=True)
    sent: Tensor = tensor()


class SignedMemory(NeuronLayer):
    """Signed neuron with memory (after Wang 2022): what it has sent follows phi of the sum of its input.

    For (leaky) ReLU, with a cap or without, and SiLU; in rate and in differential coding.

    In differential coding it may have a value at rest, [C]: what is due is counted from there, and the next layers know
    it as they know their biases. It depends on no image, so that it costs no event and no operation: what it sends them
    is one constant per neuron of theirs, computed beforehand (a map, since a kernel meets no rest beyond the border).
    Here the first step of a run hands on n + rest, of which n is tallied.
    """

    state_type: ClassVar[type[Any]] = MemoryState
    _events: EventNeurons | None = None

    def unneeded(self) -> tuple[str, ...]:
        return (*super().unneeded(), *(("potential",) if self.plan.reads_sums else ()))

    def start(self, s: MemoryState, p: Parameters, z: Tensor | None, buffers: Buffers) -> None:
        """The sum of the input starts at zero; `initial` is what is added before rounding down. The rest is known."""
        if p.rest is not None:
            s.sent.copy_(p.rest)

    def step(self, s: MemoryState, p: Parameters, z: Tensor | None, clock: Clock, buffers: Buffers) -> Tensor:
        due = self.due(s, p, self.total(s, z), clock.time, buffers.out)
        weight, hysteresis = clock.spike_weight, clock.reluctant * self.settings.hysteresis
        out, spikes = F.send(due, s.sent, p.initial, self.settings, due, buffers.a, weight, hysteresis)
        s.tally(spikes)
        return out.add_(p.rest) if clock.first and p.rest is not None else out

    def bind(self, p: Parameters) -> None:
        plain = type(self) is SignedMemory and self.complete and not self.phi.silu and self.plan.sent_dtype is None
        self._events = self.backend.event_neurons(self.state, p, self.settings, self.slope) if plain else None

    def events(self, current: Tensor | Active, clock: Clock) -> Active | None:
        if self._events is None or clock.first or clock.spike_weight != 1:
            return None
        return self._events(current, clock.reluctant * self.settings.hysteresis)

    def total(self, s: MemoryState, z: Tensor | None) -> Tensor:
        """The sum of all input, with what arrives now: z itself for a layer that reads sums."""
        if s.potential is None:
            assert z is not None
            return z
        return s.potential if z is None else s.potential.add_(z)

    def quiet(self) -> bool:
        """Nothing was sent, or values are sent complete: then nothing is left, but what rounding leaves of a sum."""
        handed_on_rest = self.t == 1 and hasattr(self, "rest")  # then zero may be a spike that cancels it
        return self.coding.once and (self.complete or (self.silent() and not handed_on_rest))

    @property
    def complete(self) -> bool:
        """Whether all that is due is sent in every step."""
        n = self.settings
        return n.events == "digits" and not n.digits and n.gamma == MOST

    def due(self, s: MemoryState, p: Parameters, total: Tensor, time: Any, out: Tensor | None) -> Tensor:
        """What has not been sent yet, in thetas."""
        ceiling = None if p.cap is None else p.cap * time
        return F.unsent(total, s.sent, p.theta, self.slope, out, ceiling, time if self.phi.silu else None)

    def unsent(self) -> Tensor:
        """What has not been sent yet, in the units of the ANN; negative where too much was sent."""
        p = self.step_parameters(self.count)
        theta = per_channel(p.theta, self.count)
        cap = None if p.cap is None else per_channel(p.cap, self.count)
        broadcast = Parameters(theta=theta, initial=p.initial, cap=cap)
        time = self.coding.activations(self.t)
        return self.due(self.state, broadcast, self.potential, time, torch.empty_like(self.count)).mul_(theta)
