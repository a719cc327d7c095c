"""Integrate-and-fire neurons with a fixed threshold, for ReLU."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn import functional as F
from spiking_yolo.snn.layout import per_channel
from spiking_yolo.snn.neurons.layer import Clock, NeuronLayer, register


@register("if")
class IntegrateAndFire(NeuronLayer):
    """IF neuron for ReLU (Diehl 2015, Rueckauer 2017), reset by subtraction or to zero."""

    def step(self, z: Tensor, clock: Clock) -> Tensor:
        self.charge()
        out = F.integrate_and_fire(
            self.potential,
            z,
            self.p.theta,
            self.settings.gamma,
            self.out,
            F.RESETS[self.settings.reset],
            F.room(self.p.cap, clock.t + 1, self.count),
            self.sign,
        )
        self.tally.add(out)
        return out

    def charge(self) -> None:
        """Add theta / (2 shift) to the potential (neuron.shift, Deng and Gu 2021)."""
        if self.settings.shift:
            self.potential.add_(self.p.theta / (2 * self.settings.shift))


class ImbalancedThreshold(NeuronLayer):
    """IBT neuron of Spiking-YOLO for leaky ReLU (Kim 2020, section 4.2)."""

    def step(self, z: Tensor, clock: Clock) -> Tensor:
        out = F.imbalanced_threshold(
            self.potential, z, self.p.theta, self.slope, self.settings.gamma, self.out
        )
        self.tally.add(out.abs())
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
