"""Pairs of neurons for leaky ReLU: one integrates the current, the other its negative."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.backend import Backend
from spiking_yolo.snn.msat import without_potential
from spiking_yolo.snn.neurons.adaptive import AdaptiveIntegrateAndFire
from spiking_yolo.snn.neurons.integrate_and_fire import IntegrateAndFire
from spiking_yolo.snn.neurons.layer import NeuronLayer
from spiking_yolo.snn.plan import LayerPlan
from spiking_yolo.snn.state import Buffers, Clock, Parameters, State, tensor


@dataclass(kw_only=True)
class PairParameters(Parameters):
    """theta, initial and bias are the ON neuron's; weight: what an OFF spike is worth, in thetas of the ON neuron."""

    theta_off: Tensor
    weight: Tensor
    on: Any = None
    off: Any = None
    one: Any = None


class Pair(NeuronLayer):
    """What both forms share: the parameters of two neurons. The pair adds the calibrated bias, before the sign turns.

    parameters: also theta_off [C], and initial_off where calibrated.
    """

    neurons_per_site: ClassVar[int] = 2
    theta_off: Tensor

    def side_parameters(self, parameters: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The parameters of the ON and of the OFF neuron."""
        on = {name: parameters[name] for name in ("theta", "initial", "confidence") if name in parameters}
        off = {"theta": parameters["theta_off"], "initial": parameters.get("initial_off", parameters["initial"])}
        return on, {**on, **off}

    def step_parameters(self, like: Tensor) -> PairParameters:
        theta, off = self.theta.to(like), self.theta_off.to(like)
        bias = self._optional("bias", like)
        weight = -self.slope * off / theta
        return PairParameters(theta=theta, initial=self.initial.to(like), bias=bias, theta_off=off, weight=weight)


@dataclass(kw_only=True)
class OnOffState:
    """The states of the two neurons. Unless somebody observes them they count into one tensor.

    on_out, off_out: what each of them sent, for observers.
    """

    on: Any
    off: Any
    on_out: Any = None
    off_out: Any = None


class OnOff(Pair):
    """Two neurons for leaky ReLU: ON integrates z, OFF integrates -z.

    Sent: n_on * theta_on - slope * n_off * theta_off, in units of theta_on. Both neurons' spikes are counted.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        recipe: Recipe,
        phi: Activation,
        plan: LayerPlan = LayerPlan(),
        backend: Backend | None = None,
    ):
        super().__init__(parameters, recipe, phi, plan, backend)
        kind = AdaptiveIntegrateAndFire if recipe.msat.enabled else IntegrateAndFire
        on, off = self.side_parameters(parameters)
        plans = (LayerPlan(f"{plan.name}/{side}", observed=plan.observed) for side in ("on", "off"))
        self.on = kind(on, recipe, Activation(), next(plans))
        self.off = kind(off, recipe, Activation(), next(plans), sign=-1)

    def new_state(self, shape: torch.Size, like: Tensor, dtype: torch.dtype) -> OnOffState:
        on, off = (side.new_state(shape, like, dtype) for side in self.sides)
        if not self.plan.observed:
            off.count = on.count
            return OnOffState(on=on, off=off)
        sent = State.allocate(shape, like, dtype, ("events",))
        state = OnOffState(on=on, off=off, on_out=sent.count, off_out=sent.previous)
        self.on.show(on, state.on_out)
        self.off.show(off, state.off_out)
        return state

    def step_parameters(self, like: Tensor) -> PairParameters:
        p = super().step_parameters(like)
        p.on, p.off = self.on.step_parameters(like), self.off.step_parameters(like)
        return p

    def bind(self, p: PairParameters) -> None:
        self.on.bind(p.on)
        self.off.bind(p.off)

    def reset(self, keys: Any = ()) -> None:
        super().reset(keys)
        for side in self.sides:
            side.reset(keys)

    def drops(self, t: int) -> bool:
        return self.on.drops(t)

    def prepare(self, s: OnOffState, clock: Clock) -> None:
        self.on.prepare(s.on, clock)
        self.off.prepare(s.off, clock)

    def start(self, s: OnOffState, p: PairParameters, z: Tensor | None, buffers: Buffers) -> None:
        self.on.start(s.on, p.on, z, buffers)
        self.off.start(s.off, p.off, z, buffers)

    def emit(self, s: OnOffState, p: PairParameters, z: Tensor | None, clock: Clock, buffers: Buffers) -> Tensor:
        z = self.biased(p, z, clock.first)
        on = self.on.emit(s.on, p.on, z, clock, buffers._replace(out=buffers.d if s.on_out is None else s.on_out))
        off = self.off.emit(s.off, p.off, z, clock, buffers._replace(out=buffers.e if s.off_out is None else s.off_out))
        return torch.addcmul(on, off, p.weight, out=buffers.out)

    @property
    def count(self) -> Tensor:
        s = self.state
        return s.on.count if s.off.count is s.on.count else s.on.count + s.off.count

    @property
    def events(self) -> Tensor:
        s = self.state
        return self.count if s.on.events is None else s.on.events + s.off.events

    @property
    def sides(self) -> tuple[NeuronLayer, ...]:
        return self.on, self.off


@dataclass(kw_only=True)
class ConstantOnOffState:
    """one: of the neuron that fires at all. What follows from the constant current: `current` as that neuron receives
    it, `value` of its spikes in thetas of the ON neuron, and `positive`, 1 where it is the ON neuron, 0 where OFF.
    """

    one: Any
    current: Tensor
    value: Tensor
    positive: Tensor


@dataclass(kw_only=True)
class _Constants(State):
    current: Tensor = tensor()
    value: Tensor = tensor()
    positive: Tensor = tensor(torch.uint8)


class OneSide(AdaptiveIntegrateAndFire):
    """The adaptive neuron of a ConstantOnOff, whose threshold is 1."""

    in_thresholds: ClassVar[bool] = True

    def unneeded(self) -> tuple[str, ...]:
        return tuple(name for name in super().unneeded() if name != "evoked")


class ConstantOnOff(Pair):
    """The pair where the current never changes: one of the two never fires, since its potential starts at 0 and does
    not rise. Only the other is computed, as a neuron that receives |z| / theta and has the threshold 1.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        recipe: Recipe,
        phi: Activation,
        plan: LayerPlan = LayerPlan(),
        backend: Backend | None = None,
    ):
        super().__init__(parameters, recipe, phi, plan, backend)
        on, _ = self.side_parameters(parameters)
        start = {"theta": torch.ones(1), "initial": torch.zeros(())}
        kind = OneSide if recipe.msat.enabled else IntegrateAndFire
        self.one = kind({**on, **start}, recipe, Activation(), LayerPlan(plan.name, observed=False))

    @staticmethod
    def is_enough(parameters: Mapping[str, Tensor], recipe: Recipe) -> bool:
        """Whether no potential of the two can rise without current, and only the ratio of current and theta matters."""
        initial = parameters["initial"], parameters.get("initial_off", parameters["initial"])
        rises = any(bool(value.any()) for value in initial) or recipe.neuron.shift
        return not rises and recipe.neuron.events != "switches" and recipe.msat.units == "normalised"

    def new_state(self, shape: torch.Size, like: Tensor, dtype: torch.dtype) -> ConstantOnOffState:
        c = _Constants.allocate(shape, like, dtype, ("events", "previous"))
        one = self.one.new_state(shape, like, dtype)
        return ConstantOnOffState(one=one, current=c.current, value=c.value, positive=c.positive)

    def step_parameters(self, like: Tensor) -> PairParameters:
        p = super().step_parameters(like)
        p.one = self.one.step_parameters(like)
        return p

    def bind(self, p: PairParameters) -> None:
        self.one.bind(p.one)

    def reset(self, keys: Any = ()) -> None:
        super().reset(keys)
        self.one.reset(keys)

    def drops(self, t: int) -> bool:
        return self.one.drops(t)

    def start(self, s: ConstantOnOffState, p: PairParameters, z: Tensor | None, buffers: Buffers) -> None:
        assert z is not None
        z = self.biased(p, z.to(p.theta.dtype), first=True)
        assert z is not None
        positive = z > 0
        s.positive.copy_(positive)
        s.current.copy_(z.abs() / torch.where(positive, p.theta, p.theta_off))
        s.value.copy_(torch.where(positive, 1.0, p.weight))
        self.one.start(s.one, p.one, z, buffers)
        if isinstance(self.one, OneSide):
            rule = self.one.rule
            without_potential(s.current, rule.top, rule.settings, s.one.evoked, None)

    def prepare(self, s: ConstantOnOffState, clock: Clock) -> None:
        """Of the spikes that either neuron would keep, those of the neuron that fires."""
        if isinstance(self.one, OneSide) and clock.drops and s.one.keep is not None:
            on, off = (self.one.drawn(f"{self.plan.name}/{side}", clock.t, s.current) for side in ("on", "off"))
            # where positive on, else off; torch.where takes fifty times as long
            s.one.keep.copy_(on.bitwise_xor_(off).bitwise_and_(s.positive).bitwise_xor_(off))

    def emit(
        self, s: ConstantOnOffState, p: PairParameters, z: Tensor | None, clock: Clock, buffers: Buffers
    ) -> Tensor:
        sent = self.one.emit(s.one, p.one, s.current, clock, buffers._replace(out=buffers.d))
        return torch.mul(sent, s.value, out=buffers.out)

    @property
    def count(self) -> Tensor:
        return self.state.one.count

    @property
    def events(self) -> Tensor:
        return self.count
