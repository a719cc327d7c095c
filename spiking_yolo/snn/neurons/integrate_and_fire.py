"""Integrate-and-fire neurons with a fixed threshold, for ReLU."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spiking_yolo.snn import functional as F
from spiking_yolo.snn.layout import per_channel
from spiking_yolo.snn.neurons.layer import NeuronLayer
from spiking_yolo.snn.state import Buffers, Clock, Parameters, PotentialState


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
            room,
            self.sign,
        )
        s.tally(out)
        return out

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
