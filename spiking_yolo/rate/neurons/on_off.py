"""Pairs of neurons for leaky ReLU: ON integrates the current, OFF its negative.

Sent: n_on * theta_on - slope * n_off * theta_off, in units of theta_on. Both neurons' spikes are
counted. Any kind of neuron that sends spikes of one sign works in pairs.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from spiking_yolo.graph import Activation
from spiking_yolo.rate.library import OnePass
from spiking_yolo.rate.neurons.layer import Builder, Clock, NeuronLayer
from spiking_yolo.recipe import Recipe
from spiking_yolo.spikes.counting import Counts
from spiking_yolo.spikes.layout import Tensors
from spiking_yolo.spikes.plan import LayerPlan


class OnOff(NeuronLayer):
    """Both neurons of each pair. The pair adds the calibrated bias, not its members.

    Args:
        parameters: What NeuronLayer takes, theta_off [C], and initial_off where calibrated.
        member: Makes the ON and the OFF neurons.
    """

    neurons_per_site: ClassVar[int] = 2

    def __init__(
        self, parameters: Tensors, recipe: Recipe, phi: Activation, plan: LayerPlan, member: Builder
    ):
        super().__init__(parameters, recipe, phi, plan)
        self.theta_off = parameters["theta_off"]
        own = LayerPlan(by_channel=plan.by_channel)
        on = {name: parameters[name] for name in ("theta", "initial", "gain") if name in parameters}
        initial = parameters.get("initial_off", self.initial)
        off = {**on, "theta": self.theta_off, "initial": initial}
        self.on = member(on, recipe, Activation(), own)
        self.off = member(off, recipe, Activation(), own, sign=-1)

    @property
    def sends_at_most_one(self) -> bool:
        alone = self.on.sends_at_most_one and self.off.sends_at_most_one
        return alone and bool((self.slope * self.theta_off <= self.theta).all())

    @property
    def sides(self) -> tuple[NeuronLayer, ...]:
        return self.on, self.off

    def start(self, z: Tensor) -> None:
        theta_off = self._own("theta_off")
        # The value of an OFF spike in thetas of the ON neuron.
        self.weight = -self.slope * theta_off / self.p.theta
        for side in self.sides:
            side.begin(z)

    def in_one_pass(self) -> OnePass | None:
        on, off = self.on.side(), self.off.side()
        if on is None or off is None:
            return None
        return OnePass(self.out, [on, off], self.p.bias, self.weight)

    def emit(self, z: Tensor, clock: Clock) -> Tensor:
        self.out = self.step(z, clock)
        return self.out

    def step(self, z: Tensor, clock: Clock) -> Tensor:
        on, off = self.on.emit(z, clock), self.off.emit(z, clock)
        return torch.addcmul(on, off, self.weight, out=self.out)

    @property
    def count(self) -> Tensor:
        return self.on.count + self.off.count

    @property
    def counts(self) -> Counts:
        return Counts.of(torch.add, self.on.counts, self.off.counts)

    def rate_grid(self, current: Tensor, thetas: Sequence[Tensor], T: int) -> Tensor:
        on = self.on.rate_grid(current, thetas[:1], T)
        return on - self.slope * self.off.rate_grid(-current, thetas[1:], T)


class ConstantOnOff(OnOff):
    """The pair for a constant current, of which one neuron never fires.

    Its potential starts at 0 and does not rise. Only the other is computed, as an ON neuron that
    receives |z| / theta and has the threshold 1.
    """

    @staticmethod
    def is_enough(parameters: Tensors, recipe: Recipe, plan: LayerPlan) -> bool:
        """Whether no potential rises without current, and only current / theta matters."""
        initial, neuron = parameters["initial"], recipe.neuron
        charged = initial.any() or parameters.get("initial_off", initial).any() or neuron.shift
        known = recipe.neuron_kind.plain or recipe.neuron_kind.msat
        unseen = plan.constant and neuron.events != "switches"
        return known and unseen and not charged

    def start(self, z: Tensor) -> None:
        theta_off, current = self._own("theta_off"), self.biased(z)
        unit = {**self.on.parameters, "theta": torch.ones(1), "initial": torch.zeros(())}
        self.on = type(self.on)(unit, self.recipe, Activation(), self.on.plan)
        positive = current > 0
        # The current that the neuron which fires receives, and what its spikes are worth, in thetas
        # of ON.
        self._current = current.abs() / torch.where(positive, self.p.theta, theta_off)
        self._value = torch.where(positive, 1.0, -self.slope * theta_off / self.p.theta)
        self.on.begin(self._current)

    def in_one_pass(self) -> OnePass | None:
        side = self.on.side()
        if side is None:
            return None
        return OnePass(self.out, [side], value=self._value, constant=self._current)

    def step(self, z: Tensor, clock: Clock) -> Tensor:
        return torch.mul(self.on.emit(self._current, clock), self._value, out=self.out)

    @property
    def count(self) -> Tensor:
        return self.on.count

    @property
    def counts(self) -> Counts:
        return self.on.counts
