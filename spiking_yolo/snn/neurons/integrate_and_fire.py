"""Integrate-and-fire neurons with a fixed threshold, for ReLU."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn import functional as F
from spiking_yolo.snn.layout import per_channel
from spiking_yolo.snn.neurons.build import register
from spiking_yolo.snn.neurons.layer import NeuronLayer
from spiking_yolo.snn.state import Buffers, Clock, Parameters, PotentialState


@register("if")
class IntegrateAndFire(NeuronLayer):
    """IF neuron for ReLU (Diehl 2015, Rueckauer 2017), reset by subtraction or to zero."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        recipe: Recipe,
        phi: Activation,
        *others: Any,
        sign: int = 1,
    ):
        # A neuron whose spikes are worth no more than the cap in each step cannot exceed it: so it
        # is with theta at the cap, the neuron of Deng 2021 and Bu 2022. MSAT's thresholds stay
        # below Theta.
        most = recipe.neuron.gamma * parameters["theta"]
        if phi.cap is not None and not bool((most > phi.cap).any()):
            phi = Activation()
        super().__init__(parameters, recipe, phi, *others, sign=sign)

    def step(
        self, s: PotentialState, p: Parameters, z: Tensor | None, clock: Clock, buffers: Buffers
    ) -> Tensor:
        # Rate coding: there is a current in every step.
        assert z is not None
        self.charge(s, p)
        room = F.room(p.cap, clock.t + 1, s.count)
        out = F.integrate_and_fire(
            s.potential,
            z,
            p.theta,
            self.settings.gamma,
            buffers.out,
            F.RESETS[self.settings.reset],
            room,
            self.sign,
        )
        s.tally(out)
        return out

    def charge(self, s: PotentialState, p: Parameters) -> None:
        """Add theta / (2 shift) to the potential (neuron.shift, Deng and Gu 2021)."""
        if self.settings.shift:
            s.potential.add_(p.theta / (2 * self.settings.shift))


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


@register("ibt")
def signed_for_leaky_relu(
    parameters: Mapping[str, Tensor], recipe: Recipe, phi: Activation, *others: Any
) -> NeuronLayer:
    """Imbalanced thresholds, which without a slope are an IF neuron."""
    if phi.slope:
        return ImbalancedThreshold(parameters, recipe, phi, *others)
    return IntegrateAndFire(parameters, recipe, phi, *others)
