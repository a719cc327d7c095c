"""Neurons whose threshold follows MSAT (msat.py)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn import functional as F
from spiking_yolo.snn.coding import uniform
from spiking_yolo.snn.fast import Backend
from spiking_yolo.snn.layout import collapse_equal, per_channel
from spiking_yolo.snn.msat import MsatThreshold
from spiking_yolo.snn.neurons.build import register
from spiking_yolo.snn.neurons.integrate_and_fire import IntegrateAndFire
from spiking_yolo.snn.neurons.layer import NeuronLayer
from spiking_yolo.snn.neurons.signed import MemoryState, SignedMemory
from spiking_yolo.snn.plan import LayerPlan
from spiking_yolo.snn.state import Buffers, Clock, Parameters, PotentialState, tensor

CONFIDENCE_STEPS = 16


class MsatNeurons(NeuronLayer):
    """What both kinds share: the sum of the potentials over time, and the ratio theta(t) / Theta.

    The ratio is stored only if the next step needs it or thresholds are observed.

    Attributes:
        in_thresholds: Whether potentials are in thresholds, or in the units of the ANN.
        rule: Of the threshold.
        gain: As calibrated for this layer.
    """

    in_thresholds: ClassVar[bool] = False
    rule: MsatThreshold
    gain: Tensor

    @property
    def is_algorithm1(self) -> bool:
        return self.recipe.msat.variant == "algorithm1"

    def unneeded(self) -> tuple[str, ...]:
        unneeded = super().unneeded()
        if self.plan.observed or self.is_algorithm1:
            return unneeded
        return (*unneeded, "ratio")

    def bind(self, p: Parameters) -> None:
        theta = collapse_equal(self.theta).to(p.theta.dtype)
        # 0: as calibrated for this layer.
        gain = self.recipe.msat.gain or self.gain.item()
        self.rule = MsatThreshold(self.recipe.msat, theta, self.in_thresholds, gain, like=p.theta)

    def start(self, s: Any, p: Parameters, z: Tensor | None, buffers: Buffers) -> None:
        super().start(s, p, z, buffers)
        if s.ratio is not None:
            s.ratio.fill_(self.rule.first)

    def ratio(self, s: Any, clock: Clock, buffers: Buffers) -> Tensor:
        """The ratio of the step before, or room for that of this step; filled in the first step."""
        if s.ratio is not None:
            return s.ratio
        ratio = torch.empty_like(s.total) if buffers.ratio is None else buffers.ratio
        return ratio.fill_(self.rule.first) if clock.first else ratio

    @property
    def threshold(self) -> Tensor:
        """theta(t) of the last step, [N, C, ...]."""
        return self.state.ratio * per_channel(self.theta, self.count) * self.spike_weight


@dataclass(kw_only=True)
class MsatPotentialState(PotentialState):
    """The state of a MsatIntegrateAndFire.

    total: Sum of the potentials over time. ratio: theta(t) / Theta. sent: Net value, in thetas.
    keep: 1 where a spike of this step is kept, 0 where it is dropped. evoked: The contribution of
    DET, if it is constant.
    """

    total: Tensor = tensor()
    ratio: Tensor | None = tensor(optional=True)
    sent: Tensor | None = tensor(optional=True)
    keep: Tensor | None = tensor(torch.uint8, optional=True)
    evoked: Tensor | None = tensor(optional=True)


class MsatIntegrateAndFire(MsatNeurons, IntegrateAndFire):
    """IF neuron whose threshold follows MSAT: it sends n * theta(t), a graded spike.

    With spike confidence, spikes of the first 16 steps are kept with the layer's probability, after
    the reset (as the authors do) or before it.
    """

    state_type: ClassVar[type[Any]] = MsatPotentialState
    confidence: Tensor

    def unneeded(self) -> tuple[str, ...]:
        unneeded = [*super().unneeded(), "evoked"]
        if self.phi.cap is None and not self.is_algorithm1:
            unneeded.append("sent")
        if not self.is_unsure:
            unneeded.append("keep")
        return tuple(unneeded)

    @property
    def is_unsure(self) -> bool:
        """Whether spikes may be dropped at all."""
        return self.recipe.msat.confidence != "off" and bool(self.confidence < 1)

    def drops(self, t: int) -> bool:
        return t < CONFIDENCE_STEPS and self.is_unsure

    def prepare(self, s: MsatPotentialState, clock: Clock) -> None:
        if clock.drops and s.keep is not None:
            s.keep.copy_(self.random_keep(self.plan.name, clock.t, s.potential))

    def random_keep(self, name: str, t: int, like: Tensor) -> Tensor:
        """1 for spikes of a step to keep, uint8 [N, C, ...]; random by seed, image, layer, step."""
        numbers = uniform(like, self.recipe.encoding.seed, self.keys, name, t)
        return (numbers < self.confidence.item()).to(torch.uint8)

    def step(  # pyright: ignore[reportIncompatibleMethodOverride]  (each class steps the state that it makes)
        self, s: MsatPotentialState, p: Parameters, z: Tensor | None, clock: Clock, buffers: Buffers
    ) -> Tensor:
        # Rate coding: there is a current in every step.
        assert z is not None
        ratio = self.ratio(s, clock, buffers)
        if not clock.first:
            self.adapt(s, p, z, clock, ratio, buffers)
        self.charge(s, p)
        theta = ratio if self.in_thresholds else torch.mul(ratio, p.theta, out=buffers.a)
        room = None
        if p.cap is not None and s.sent is not None:
            room = F.room(p.cap * clock.time, s.sent, ratio)
        keep = self.keep(s, clock, theta, buffers.c)
        before = keep if self.recipe.msat.confidence == "before" else None
        gamma = self.settings.gamma
        fired = F.integrate_and_fire(
            s.potential, z, theta, gamma, buffers.b, self.reset_rule, before, room, self.sign
        )
        if keep is not None and before is None:
            fired.mul_(keep)
        s.tally(fired)
        s.total.add_(s.potential)
        out = torch.mul(fired, ratio, out=buffers.out)
        if s.sent is not None:
            s.sent.add_(out)
        return out

    @staticmethod
    def keep(
        s: MsatPotentialState, clock: Clock, like: Tensor, out: Tensor | None
    ) -> Tensor | None:
        """1 or 0 for each neuron, in the dtype of `like`; None if no spike is dropped."""
        if s.keep is None or not clock.drops:
            return None
        return s.keep.to(like) if out is None else out.copy_(s.keep)

    def adapt(
        self,
        s: MsatPotentialState,
        p: Parameters,
        z: Tensor | None,
        clock: Clock,
        ratio: Tensor,
        buffers: Buffers,
    ) -> None:
        """theta(t) / Theta for this step, in `ratio`."""
        m = self.recipe.msat
        if self.is_algorithm1:
            assert s.sent is not None
            self.rule.algorithm1(ratio, s.sent / clock.t, s.potential / p.theta)
            return
        mean = s.total / clock.t if m.mu else None
        # U - Ubar
        deviation = F.add(s.potential, s.total, -1 / clock.t, buffers.a)
        self.rule.eq17(deviation, mean, z if m.det else None, ratio, buffers.b, self.sign, s.evoked)


@dataclass(kw_only=True)
class MsatMemoryState(MemoryState):
    """The state of a MsatSignedMemory.

    total: Sum over time of what was not sent yet. ratio: theta(t) / Theta. last: What was not sent
    yet, for Algorithm 1.
    """

    total: Tensor = tensor()
    ratio: Tensor | None = tensor(optional=True)
    last: Tensor | None = tensor(optional=True)


class MsatSignedMemory(MsatNeurons, SignedMemory):
    """Signed memory neuron whose threshold follows MSAT: coarse while the input moves, fine once it
    has settled.

    The potential of the rule is U = |phi(S) - what was sent|, and z counts as |z|, since the neuron
    fires in both directions. Theta tracks U as it is before the spikes of the step, the potential
    that they answer; the mean is of U after them, as in the IF neuron. Without input U never grows
    and the ratio tends to its value at rest, so with msat.stages each neuron falls silent for good;
    where the threshold may take any value it follows U down for ever.
    """

    state_type: ClassVar[type[Any]] = MsatMemoryState
    in_thresholds: ClassVar[bool] = True

    def unneeded(self) -> tuple[str, ...]:
        return (*super().unneeded(), *(() if self.is_algorithm1 else ("last",)))

    def step(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, s: MsatMemoryState, p: Parameters, z: Tensor | None, clock: Clock, buffers: Buffers
    ) -> Tensor:
        m = self.recipe.msat
        ratio = self.ratio(s, clock, buffers)
        if not clock.first and s.last is not None:
            self.rule.algorithm1(ratio, s.sent / clock.t, s.last)
        due = self.due(s, p, self.total(s, z), clock.time, buffers.d if s.last is None else s.last)
        if not clock.first and s.last is None:
            tracked = torch.abs(due, out=buffers.a)
            current = None
            if m.det and z is not None:
                current = torch.div(z, p.theta, out=buffers.b).abs_()
            mean = s.total / clock.t if m.mu else None
            # U - Ubar
            deviation = F.add(tracked, s.total, -1 / clock.t, tracked)
            ratio = self.rule.eq17(deviation, mean, current, ratio, buffers.c)
        weight = clock.spike_weight
        value = torch.mul(ratio, weight, out=buffers.a) if F.scales(weight) else ratio
        hysteresis = clock.hysteresis * self.settings.hysteresis
        out, spikes = F.send(
            due, s.sent, p.initial, self.settings, buffers.out, buffers.b, value, hysteresis
        )
        s.tally(spikes)
        s.total.add_(due.sub_(out).abs_())
        return out

    def idle(self) -> None:
        super().idle()
        self._run.each(self._count_unsent, self._received())

    def _count_unsent(
        self, s: MsatMemoryState, p: Parameters, z: Tensor | None, buffers: Buffers
    ) -> None:
        s.total.add_(self._still_due(s, p, z, buffers).abs_())

    def quiet(self) -> bool:
        """Whether nothing was sent, and nothing will be while thresholds come to rest."""
        return self.silent() and not any(self._run.each(self._awaits, self._received()))

    def _awaits(
        self, s: MsatMemoryState, p: Parameters, z: Tensor | None, buffers: Buffers
    ) -> bool:
        """Whether a neuron may still fire without input, once its threshold is at rest.

        None fired in the last step, so those whose threshold was lower will not when it has risen.
        """
        if self.is_algorithm1:
            return False
        due = self._still_due(s, p, z, buffers)
        value = self.rule.at_rest(due.abs()) * self.spike_weight
        return bool(((due >= (1 - p.initial) * value) | (due < -p.initial * value)).any())

    def _still_due(
        self, s: MsatMemoryState, p: Parameters, z: Tensor | None, buffers: Buffers
    ) -> Tensor:
        return self.due(s, p, self.total(s, z), self.coding.activations(self.t), buffers.d)

    def _received(self) -> Tensor | None:
        return self._sum if self.reads_sums else None


@register("memory")
def _memory(
    parameters: Mapping[str, Tensor],
    recipe: Recipe,
    phi: Activation,
    plan: LayerPlan,
    backend: Backend | None,
) -> NeuronLayer:
    """Signed neurons with memory, with a fixed threshold or an adaptive one."""
    kind = MsatSignedMemory if recipe.msat.enabled else SignedMemory
    return kind(parameters, recipe, phi, plan, backend)
