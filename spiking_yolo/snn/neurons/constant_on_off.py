"""The ON/OFF pair of a layer whose current never changes, in half the work: the results are those of `OnOff`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.msat import without_potential
from spiking_yolo.snn.neurons.integrate_and_fire import IntegrateAndFire
from spiking_yolo.snn.neurons.msat import MsatIntegrateAndFire
from spiking_yolo.snn.neurons.on_off import Pair, PairParameters
from spiking_yolo.snn.plan import LayerPlan
from spiking_yolo.snn.state import Buffers, Clock, State, tensor


@dataclass(kw_only=True)
class ConstantOnOffState(State):
    """What follows from the constant current. current: as the neuron that fires receives it. value: of its spikes, in
    thetas of the ON neuron. positive: 1 where it is the ON neuron, 0 where OFF. one: its state.
    """

    current: Tensor = tensor()
    value: Tensor = tensor()
    positive: Tensor = tensor(torch.uint8)
    count: Any = tensor(optional=True)
    one: Any = None


class OneSide(MsatIntegrateAndFire):
    """The adaptive neuron of a ConstantOnOff, whose threshold is 1."""

    in_thresholds: ClassVar[bool] = True

    def unneeded(self) -> tuple[str, ...]:
        return tuple(name for name in super().unneeded() if name != "evoked")


class ConstantOnOff(Pair):
    """The pair where the current never changes: one of the two never fires, since its potential starts at 0 and does
    not rise. Only the other is computed, as a neuron that receives |z| / theta and has the threshold 1.
    """

    def make_members(self, on: Mapping[str, Tensor], off: Mapping[str, Tensor]) -> None:
        one = {**on, "theta": torch.ones(1), "initial": torch.zeros(())}
        kind = OneSide if self.recipe.msat.enabled else IntegrateAndFire
        self.one = kind(one, self.recipe, Activation(), LayerPlan(self.plan.name, observed=False))

    @staticmethod
    def is_enough(parameters: Mapping[str, Tensor], recipe: Recipe) -> bool:
        """Whether no potential of the two can rise without current, and only the ratio of current and theta matters."""
        initial = parameters["initial"], parameters.get("initial_off", parameters["initial"])
        rises = any(bool(value.any()) for value in initial) or recipe.neuron.shift
        return not rises and recipe.neuron.events != "switches" and recipe.msat.units == "normalised"

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

    def reset(self, keys: Any = ()) -> None:
        super().reset(keys)
        self.one.reset(keys)

    def drops(self, t: int) -> bool:
        return self.one.drops(t)

    def start(self, s: ConstantOnOffState, p: PairParameters, z: Tensor | None, buffers: Buffers) -> None:
        z = self.biased(p, z.to(p.theta.dtype) if z is not None else None, first=True)
        assert z is not None
        positive = z > 0
        s.positive.copy_(positive)
        s.current.copy_(z.abs() / torch.where(positive, p.theta, p.theta_off))
        s.value.copy_(torch.where(positive, 1.0, p.weight))
        self.one.start(s.one, p.on, z, buffers)
        if isinstance(self.one, OneSide):
            rule = self.one.rule
            without_potential(s.current, rule.top, rule.settings, s.one.evoked, None, rule.unit)

    def prepare(self, s: ConstantOnOffState, clock: Clock) -> None:
        """Of the spikes that either neuron would keep, those of the neuron that fires."""
        if isinstance(self.one, OneSide) and clock.drops and s.one.keep is not None:
            on, off = (self.one.drawn(f"{self.plan.name}/{side}", clock.t, s.current) for side in ("on", "off"))
            # where positive on, else off; torch.where takes fifty times as long
            s.one.keep.copy_(on.bitwise_xor_(off).bitwise_and_(s.positive).bitwise_xor_(off))

    def step(
        self, s: ConstantOnOffState, p: PairParameters, z: Tensor | None, clock: Clock, buffers: Buffers
    ) -> Tensor:
        sent = self.one.emit(s.one, p.on, s.current, clock, buffers._replace(out=buffers.d))
        return torch.mul(sent, s.value, out=buffers.out)

    def unneeded(self) -> tuple[str, ...]:
        return "count", "events", "switches", "previous", "one"  # the neuron that fires counts

    @property
    def count(self) -> Tensor:
        return self.state.one.count

    @property
    def counts(self) -> Counts:
        counts: Counts = self.state.one.counts(self.plan.by_channel)
        return counts
