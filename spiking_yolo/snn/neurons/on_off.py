"""Pairs of neurons for leaky ReLU: ON integrates the current, OFF its negative.

Sent: n_on * theta_on - slope * n_off * theta_off, in units of theta_on. Both neurons' spikes are
counted. Any kind of neuron that sends spikes of one sign works in pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.fast import Backend
from spiking_yolo.snn.layout import collapse_equal, empty, to_like
from spiking_yolo.snn.neurons.layer import NeuronLayer
from spiking_yolo.snn.plan import LayerPlan
from spiking_yolo.snn.state import Buffers, Clock, Parameters, State, tensor


@dataclass(kw_only=True)
class PairParameters(Parameters):
    """The parameters of a pair; theta, initial and bias are those of the ON neuron.

    weight: Worth of an OFF spike, in thetas of the ON neuron. on, off: Parameters of the two as
    neurons of their own.
    """

    theta_off: Tensor
    weight: Tensor
    on: Any = None
    off: Any = None


@dataclass(kw_only=True)
class OnOffState:
    """The states of the two neurons, which count into the same tensors unless they are observed.

    on_out, off_out: What each of them sent, for observers. switches: The two count their own.
    """

    on: Any
    off: Any
    on_out: Any = None
    off_out: Any = None
    switches: None = None


class OnOff(NeuronLayer):
    """Both neurons of each pair. The pair adds the calibrated bias, not its members.

    Args:
        parameters: As of NeuronLayer, theta_off [C], and initial_off where calibrated.
        member: Makes the ON and the OFF neurons.
    """

    neurons_per_site: ClassVar[int] = 2
    theta_off: Tensor

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        recipe: Recipe,
        phi: Activation,
        plan: LayerPlan,
        backend: Backend | None,
        member: Callable[..., NeuronLayer],
    ):
        super().__init__(parameters, recipe, phi, plan, backend)
        own = LayerPlan(plan.name, observed=plan.observed, by_channel=plan.by_channel)
        names = ("theta", "initial", "gain")
        on = {name: parameters[name] for name in names if name in parameters}
        initial = parameters.get("initial_off", self.initial)
        off = {**on, "theta": self.theta_off, "initial": initial}
        self.on = member(on, recipe, Activation(), own)
        self.off = member(off, recipe, Activation(), own, sign=-1)

    @property
    def sends_at_most_one(self) -> bool:
        return super().sends_at_most_one and bool((self.slope * self.theta_off <= self.theta).all())

    @property
    def sides(self) -> tuple[NeuronLayer, ...]:
        return self.on, self.off

    def new_state(self, shape: torch.Size, like: Tensor, dtype: torch.dtype) -> Any:
        on = self.on.new_state(shape, like, dtype)
        off = self.off.new_state(shape, like, dtype)
        if not self.plan.observed:
            off.count, off.events = on.count, on.events
            return OnOffState(on=on, off=off)
        on_out = empty(shape, like, dtype)
        off_out = empty(shape, like, dtype)
        self.on.state, self.on.out = on, on_out
        self.off.state, self.off.out = off, off_out
        return OnOffState(on=on, off=off, on_out=on_out, off_out=off_out)

    def step_parameters(self, like: Tensor) -> PairParameters:
        p = super().step_parameters(like)
        theta_off = to_like(collapse_equal(self.theta_off), like)
        return PairParameters(
            **vars(p),
            theta_off=theta_off,
            weight=-self.slope * theta_off / p.theta,
            on=self.on.step_parameters(like),
            off=self.off.step_parameters(like),
        )

    def bind(self, p: PairParameters) -> None:
        self.on.bind(p.on)
        self.off.bind(p.off)

    def start(self, s: Any, p: PairParameters, z: Tensor | None, buffers: Buffers) -> None:
        self.on.start(s.on, p.on, z, buffers)
        self.off.start(s.off, p.off, z, buffers)

    def step(
        self, s: Any, p: PairParameters, z: Tensor | None, clock: Clock, buffers: Buffers
    ) -> Tensor:
        on_out, off_out = buffers.d, buffers.e
        if self.plan.observed:
            on_out, off_out = s.on_out, s.off_out
        on = self.on.emit(s.on, p.on, z, clock, buffers._replace(out=on_out))
        off = self.off.emit(s.off, p.off, z, clock, buffers._replace(out=off_out))
        return torch.addcmul(on, off, p.weight, out=buffers.out)

    @property
    def count(self) -> Tensor:
        on, off = self.state.on.count, self.state.off.count
        if on is off:
            return on
        return on + off

    @property
    def counts(self) -> Counts:
        on, off = self.state.on, self.state.off
        counts: Counts = on.counts(self.plan.by_channel)
        if on.count is off.count:
            return counts
        return Counts.of(torch.add, counts, off.counts(self.plan.by_channel))

    def rate_grid(self, current: Tensor, thetas: Sequence[Tensor], T: int) -> Tensor:
        on = self.on.rate_grid(current, thetas[:1], T)
        return on - self.slope * self.off.rate_grid(-current, thetas[1:], T)


@dataclass(kw_only=True)
class ConstantState(State):
    """What follows from the constant current.

    current: As the neuron that fires receives it. value: Value of its spikes, in thetas of the ON
    neuron. on: Its state.
    """

    current: Tensor = tensor()
    value: Tensor = tensor()
    count: Any = tensor(optional=True)
    on: Any = None


class ConstantOnOff(OnOff):
    """The pair for a constant current, of which one neuron never fires.

    Its potential starts at 0 and does not rise. Only the other is computed, as an ON neuron that
    receives |z| / theta and has the threshold 1.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        recipe: Recipe,
        phi: Activation,
        plan: LayerPlan,
        backend: Backend | None,
        member: Callable[..., NeuronLayer],
    ):
        super().__init__(parameters, recipe, phi, plan, backend, member)
        unit = {"theta": torch.ones(1), "initial": torch.zeros(())}
        if "gain" in parameters:
            unit["gain"] = parameters["gain"]
        self.on = member(unit, recipe, Activation(), LayerPlan(plan.name, observed=False))

    @staticmethod
    def is_enough(parameters: Mapping[str, Tensor], recipe: Recipe, plan: LayerPlan) -> bool:
        """Whether no potential rises without current, and only current / theta matters."""
        initial, neuron = parameters["initial"], recipe.neuron
        charged = initial.any() or parameters.get("initial_off", initial).any() or neuron.shift
        known = recipe.neuron_kind.plain or recipe.neuron_kind.msat
        unseen = plan.constant and not plan.observed and neuron.events != "switches"
        return known and unseen and not charged

    def new_state(self, shape: torch.Size, like: Tensor, dtype: torch.dtype) -> Any:
        # The neuron that fires counts.
        without = ("count", "events", "switches", "previous", "on")
        state = ConstantState.allocate(shape, like, dtype, without)
        state.on = self.on.new_state(shape, like, dtype)
        return state

    def start(self, s: Any, p: PairParameters, z: Tensor | None, buffers: Buffers) -> None:
        z = self.biased(p, z, first=True)
        assert z is not None
        positive = z > 0
        s.current.copy_(z.abs() / torch.where(positive, p.theta, p.theta_off))
        s.value.copy_(torch.where(positive, 1.0, p.weight))
        self.on.start(s.on, p.on, z, buffers)

    def step(
        self, s: Any, p: PairParameters, z: Tensor | None, clock: Clock, buffers: Buffers
    ) -> Tensor:
        sent = self.on.emit(s.on, p.on, s.current, clock, buffers._replace(out=buffers.d))
        return torch.mul(sent, s.value, out=buffers.out)

    @property
    def count(self) -> Tensor:
        return self.state.on.count

    @property
    def counts(self) -> Counts:
        counts: Counts = self.state.on.counts(self.plan.by_channel)
        return counts
