"""Pairs of neurons for leaky ReLU: ON integrates the current, OFF its negative.

Sent: n_on * theta_on - slope * n_off * theta_off, in units of theta_on. Both neurons' spikes are
counted.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.fast import Backend
from spiking_yolo.snn.layout import collapse_equal, empty, to_like
from spiking_yolo.snn.neurons.build import register
from spiking_yolo.snn.neurons.integrate_and_fire import (
    ImbalancedThreshold,
    IntegrateAndFire,
)
from spiking_yolo.snn.neurons.layer import NeuronLayer
from spiking_yolo.snn.neurons.msat import MsatIntegrateAndFire
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


class Pair(NeuronLayer):
    """What both forms of a pair share. The pair adds the calibrated bias, not its members.

    parameters: As of NeuronLayer, theta_off [C], and initial_off where calibrated.
    """

    neurons_per_site: ClassVar[int] = 2
    theta_off: Tensor

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        recipe: Recipe,
        phi: Activation,
        plan: LayerPlan = LayerPlan(),
        backend: Backend | None = None,
    ):
        super().__init__(parameters, recipe, phi, plan, backend)
        names = ("theta", "initial", "gain")
        on = {name: parameters[name] for name in names if name in parameters}
        initial = parameters.get("initial_off", self.initial)
        self.make_members(on, {**on, "theta": self.theta_off, "initial": initial})

    @abstractmethod
    def make_members(self, on: Mapping[str, Tensor], off: Mapping[str, Tensor]) -> None:
        """Make the neurons from the parameters of the ON and of the OFF neuron."""

    @property
    def sends_at_most_one(self) -> bool:
        return super().sends_at_most_one and bool((self.slope * self.theta_off <= self.theta).all())

    def step_parameters(self, like: Tensor) -> PairParameters:
        p = super().step_parameters(like)
        theta_off = to_like(collapse_equal(self.theta_off), like)
        weight = -self.slope * theta_off / p.theta
        return PairParameters(
            theta=p.theta,
            initial=p.initial,
            bias=p.bias,
            cap=p.cap,
            theta_off=theta_off,
            weight=weight,
        )


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


class OnOff(Pair):
    """Both neurons of each pair."""

    def make_members(self, on: Mapping[str, Tensor], off: Mapping[str, Tensor]) -> None:
        self.on = self._member("on", on, 1)
        self.off = self._member("off", off, -1)

    def _member(self, side: str, parameters: Mapping[str, Tensor], sign: int) -> NeuronLayer:
        kind = integrate_and_fire(self.recipe)
        name = f"{self.plan.name}/{side}"
        plan = LayerPlan(name, observed=self.plan.observed, by_channel=self.plan.by_channel)
        return kind(parameters, self.recipe, Activation(), plan, sign=sign)

    def new_state(self, shape: torch.Size, like: Tensor, dtype: torch.dtype) -> OnOffState:
        on = self.on.new_state(shape, like, dtype)
        off = self.off.new_state(shape, like, dtype)
        if not self.plan.observed:
            off.count, off.events = on.count, on.events
        if not self.plan.observed:
            return OnOffState(on=on, off=off)
        on_out = empty(shape, like, dtype)
        off_out = empty(shape, like, dtype)
        self.on.show(on, on_out)
        self.off.show(off, off_out)
        return OnOffState(on=on, off=off, on_out=on_out, off_out=off_out)

    def step_parameters(self, like: Tensor) -> PairParameters:
        p = super().step_parameters(like)
        p.on = self.on.step_parameters(like)
        p.off = self.off.step_parameters(like)
        return p

    def bind(self, p: PairParameters) -> None:
        self.on.bind(p.on)
        self.off.bind(p.off)

    def reset(self) -> None:
        super().reset()
        for side in self.sides:
            side.reset()

    def start(self, s: OnOffState, p: PairParameters, z: Tensor | None, buffers: Buffers) -> None:
        self.on.start(s.on, p.on, z, buffers)
        self.off.start(s.off, p.off, z, buffers)

    def step(
        self, s: OnOffState, p: PairParameters, z: Tensor | None, clock: Clock, buffers: Buffers
    ) -> Tensor:
        on_out, off_out = (s.on_out, s.off_out) if self.plan.observed else (buffers.d, buffers.e)
        on = self.on.emit(s.on, p.on, z, clock, buffers._replace(out=on_out))
        off = self.off.emit(s.off, p.off, z, clock, buffers._replace(out=off_out))
        return torch.addcmul(on, off, p.weight, out=buffers.out)

    @property
    def count(self) -> Tensor:
        on: Tensor = self.state.on.count
        return on if on is self.state.off.count else on + self.state.off.count

    @property
    def counts(self) -> Counts:
        on, off = self.state.on, self.state.off
        counts: Counts = on.counts(self.plan.by_channel)
        if on.count is off.count:
            return counts
        return Counts.of(torch.add, counts, off.counts(self.plan.by_channel))

    @property
    def sides(self) -> tuple[NeuronLayer, ...]:
        return self.on, self.off

    def rate_grid(self, current: Tensor, thetas: Sequence[Tensor], T: int) -> Tensor:
        on = self.on.rate_grid(current, thetas[:1], T)
        return on - self.slope * self.off.rate_grid(-current, thetas[1:], T)


@dataclass(kw_only=True)
class ConstantOnOffState(State):
    """What follows from the constant current.

    current: As the neuron that fires receives it. value: Of its spikes, in thetas of the ON neuron.
    one: Its state.
    """

    current: Tensor = tensor()
    value: Tensor = tensor()
    count: Any = tensor(optional=True)
    one: Any = None


class ConstantOnOff(Pair):
    """The pair for a constant current, of which one neuron never fires.

    Its potential starts at 0 and does not rise. Only the other is computed, as a neuron that
    receives |z| / theta and has the threshold 1.
    """

    def make_members(self, on: Mapping[str, Tensor], off: Mapping[str, Tensor]) -> None:
        one = {**on, "theta": torch.ones(1), "initial": torch.zeros(())}
        self.one = integrate_and_fire(self.recipe)(
            one, self.recipe, Activation(), LayerPlan(self.plan.name, observed=False)
        )

    @staticmethod
    def is_enough(parameters: Mapping[str, Tensor], recipe: Recipe) -> bool:
        """Whether no potential rises without current, and only current / theta matters."""
        initial = parameters["initial"]
        starts_charged = initial.any() or parameters.get("initial_off", initial).any()
        return not (starts_charged or recipe.neuron.shift or recipe.neuron.events == "switches")

    def new_state(self, shape: torch.Size, like: Tensor, dtype: torch.dtype) -> ConstantOnOffState:
        state = ConstantOnOffState.allocate(shape, like, dtype, self.unneeded())
        state.one = self.one.new_state(shape, like, dtype)
        return state

    def step_parameters(self, like: Tensor) -> PairParameters:
        p = super().step_parameters(like)
        p.on = self.one.step_parameters(like)
        return p

    def bind(self, p: PairParameters) -> None:
        self.one.bind(p.on)

    def reset(self) -> None:
        super().reset()
        self.one.reset()

    def start(
        self, s: ConstantOnOffState, p: PairParameters, z: Tensor | None, buffers: Buffers
    ) -> None:
        z = self.biased(p, z.to(p.theta.dtype) if z is not None else None, first=True)
        assert z is not None
        positive = z > 0
        s.current.copy_(z.abs() / torch.where(positive, p.theta, p.theta_off))
        s.value.copy_(torch.where(positive, 1.0, p.weight))
        self.one.start(s.one, p.on, z, buffers)

    def step(
        self,
        s: ConstantOnOffState,
        p: PairParameters,
        z: Tensor | None,
        clock: Clock,
        buffers: Buffers,
    ) -> Tensor:
        sent = self.one.emit(s.one, p.on, s.current, clock, buffers._replace(out=buffers.d))
        return torch.mul(sent, s.value, out=buffers.out)

    def unneeded(self) -> tuple[str, ...]:
        # The neuron that fires counts.
        return "count", "events", "switches", "previous", "one"

    @property
    def count(self) -> Tensor:
        return self.state.one.count

    @property
    def counts(self) -> Counts:
        counts: Counts = self.state.one.counts(self.plan.by_channel)
        return counts


@register("ibt")
@register("if")
def _integrate_and_fire(
    parameters: Mapping[str, Tensor],
    recipe: Recipe,
    phi: Activation,
    plan: LayerPlan,
    backend: Backend | None,
) -> NeuronLayer:
    """IF neurons for ReLU; for leaky ReLU pairs of them, or imbalanced thresholds."""
    kind: type[NeuronLayer]
    if phi.slope == 0:
        kind = integrate_and_fire(recipe)
        phi = Activation() if saturates(parameters["theta"], phi, recipe) else phi
    elif recipe.neuron.kind == "ibt":
        kind = ImbalancedThreshold
    elif plan.constant and not plan.observed and ConstantOnOff.is_enough(parameters, recipe):
        kind = ConstantOnOff
    else:
        kind = OnOff
    return kind(parameters, recipe, phi, plan, backend)


def integrate_and_fire(recipe: Recipe) -> type[IntegrateAndFire]:
    """The IF neuron that a recipe asks for."""
    return MsatIntegrateAndFire if recipe.msat.enabled else IntegrateAndFire


def saturates(theta: Tensor, phi: Activation, recipe: Recipe) -> bool:
    """Whether IF neurons cannot exceed the cap: gamma spikes per step are worth no more.

    So it is with the threshold at the cap and one spike per step, the neuron of Deng 2021 and Bu
    2022. The thresholds of MSAT's Eq. 17 stay below Theta.
    """
    return phi.cap is None or not bool((recipe.neuron.gamma * theta > phi.cap).any())
