"""Integrate-and-fire neurons with a fixed threshold, for ReLU."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spiking_yolo.snn import functional as F
from spiking_yolo.snn.layout import per_channel
from spiking_yolo.snn.neurons.layer import NeuronLayer
from spiking_yolo.snn.state import Buffers, Clock, Parameters, PotentialState, leaves, tensor


class IntegrateAndFire(NeuronLayer):
    """IF neuron for ReLU (Diehl 2015, Rueckauer 2017), reset by subtraction or to zero."""

    def step(
        self, s: PotentialState, p: Parameters, z: Tensor | None, clock: Clock, buffers: Buffers
    ) -> Tensor:
        # Rate coding: there is a current in every step.
        assert z is not None
        self.charge(s, p)
        room = None if p.cap is None else F.room(p.cap * clock.time, s.count)
        out = F.integrate_and_fire(
            s.potential,
            z,
            p.theta,
            self.settings.gamma,
            buffers.out,
            self.reset_rule,
            self.allowed(s),
            room,
            self.sign,
        )
        s.tally(out)
        return out

    def allowed(self, s: Any) -> Tensor | None:
        """0 where a neuron may not fire, 1 elsewhere; None: all may."""
        return None

    @property
    def reset_rule(self) -> F.Reset:
        return F.RESETS[self.settings.reset]

    def charge(self, s: PotentialState, p: Parameters) -> None:
        """Add theta / (2 shift) to the potential (neuron.shift, Deng and Gu 2021)."""
        if self.settings.shift:
            s.potential.add_(p.theta / (2 * self.settings.shift))

    @property
    def shift(self) -> Tensor | None:
        if not self.settings.shift:
            return None
        return per_channel(self.theta, self.count) / (2 * self.settings.shift)


@dataclass(kw_only=True)
class PreparedState(PotentialState):
    """lesson: What the rounds of preparation told the neuron; 0 before the first."""

    lesson: Tensor = tensor()


class Prepared(IntegrateAndFire):
    """IF neuron that first runs on the image for some steps, looks at its residual potential, and
    starts again.
    """

    state_type: ClassVar[type[Any]] = PreparedState

    def restart(self, s: PreparedState, p: Parameters, z: Tensor | None, buffers: Buffers) -> None:
        lesson = self.learn(s, p)
        for value in leaves(s):
            value.zero_()
        s.lesson.copy_(lesson)
        self.start(s, p, z, buffers)

    @abstractmethod
    def learn(self, s: PreparedState, p: Parameters) -> Tensor:
        """The lesson of a round that has ended."""


class Silenced(Prepared):
    """Sends nothing after a round that left its potential negative (Hao, AAAI 2023)."""

    def learn(self, s: PreparedState, p: Parameters) -> Tensor:
        return (s.potential < 0).to(s.potential)

    def allowed(self, s: PreparedState) -> Tensor:
        return 1 - s.lesson


class Shifted(Prepared):
    """Starts one theta lower if it sent a spike too many, one higher if it owes one (Hao, ICLR
    2023).

    It sent the right number if its potential is in [0, theta), as it was at the start.
    """

    def start(self, s: PreparedState, p: Parameters, z: Tensor | None, buffers: Buffers) -> None:
        s.potential.copy_((p.initial + s.lesson) * p.theta)

    def learn(self, s: PreparedState, p: Parameters) -> Tensor:
        # Without the former lessons, each of which makes a spike more or less.
        residual = s.potential - s.lesson * p.theta
        too_many = (residual < 0) & (s.count > 0)
        return s.lesson + (residual >= p.theta).to(residual) - too_many.to(residual)


PREPARATIONS = {"none": IntegrateAndFire, "silence": Silenced, "shift": Shifted}


class ImbalancedThreshold(NeuronLayer):
    """IBT neuron of Spiking-YOLO for leaky ReLU (Kim 2020, section 4.2)."""

    def step(
        self, s: PotentialState, p: Parameters, z: Tensor | None, clock: Clock, buffers: Buffers
    ) -> Tensor:
        # Rate coding: there is a current in every step.
        assert z is not None
        out = F.imbalanced_threshold(
            s.potential, z, p.theta, self.slope, self.settings.gamma, buffers.out
        )
        s.tally(torch.abs(out, out=buffers.a))
        return out

    def rate_grid(self, current: Tensor, thetas: Sequence[Tensor], T: int) -> Tensor:
        start = per_channel(self.initial, current)
        return self._bounded(self.phi(current * T / thetas[0] + start).trunc(), thetas[0], T)
