"""Neurons whose threshold follows MSAT."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from spiking_yolo.snn import functional as SF
from spiking_yolo.snn.blocks import rows
from spiking_yolo.snn.fixed import IntegrateAndFire, SignedMemory
from spiking_yolo.snn.layer import Layer
from spiking_yolo.snn.msat import AdaptiveThreshold
from spiking_yolo.snn.random import below

CONFIDENCE_STEPS = 16


class Adaptive(Layer):
    """What both kinds share: the sum of the potentials over time, in `total`, and the threshold's ratio to Theta.

    The ratio goes through memory only where it matters in the next step or a probe may ask for thresholds.
    """

    in_thresholds = False  # whether potentials are kept in thresholds, or in the units of the ANN
    total: Tensor
    ratio: Tensor

    def _allocate(self, current: Tensor, dtype: torch.dtype) -> None:
        super()._allocate(current, dtype)
        self.rule = AdaptiveThreshold(self.recipe.msat, self._blocks[0].theta, self.in_thresholds)
        for block in self._blocks:
            block.constant = None

    def _names(self) -> tuple[str, ...]:
        return (*super()._names(), "total", *(("ratio",) if self._keeps_ratio else ()))

    @property
    def _keeps_ratio(self) -> bool:
        return self.watched or self.recipe.msat.variant == "algorithm1"

    def _start(self) -> None:
        super()._start()
        if self._keeps_ratio:
            self.ratio.fill_(self.rule.first)

    def _ratio(self, b: SimpleNamespace) -> Tensor:
        """Where a block's ratio is kept, or room for it; in the first step it is filled in."""
        if self._keeps_ratio:
            return b.ratio
        ratio = torch.empty_like(b.total) if b.scratch[-2] is None else b.scratch[-2]
        return ratio.fill_(self.rule.first) if self.first else ratio

    @property
    def threshold(self) -> Tensor:
        """theta(t) of the last step."""
        return self.ratio * self.theta * self.spike_weight

    def _deviation(self, potential: Tensor, total: Tensor, out: Tensor) -> Tensor:
        """U - Ubar."""
        return SF.add(potential, total, -1 / self.t, out)


class AdaptiveIntegrateAndFire(Adaptive, IntegrateAndFire):
    """IF neuron whose threshold follows MSAT: sends n * theta(t), a graded spike.

    With spike confidence, spikes of the first 16 steps are kept with the layer's probability, after the reset (as the
    authors do) or before it.
    """

    def _names(self) -> tuple[str, ...]:
        return (*super()._names(), *(("sent",) if self._needs_sent else ()))

    @property
    def _needs_sent(self) -> bool:
        """Whether the sum of what was sent matters."""
        return self.phi.cap is not None or self.recipe.msat.variant == "algorithm1"

    def _fire(self, b: SimpleNamespace, z: Tensor) -> Tensor:
        ratio = self._ratio(b)
        if not self.first:
            self._adapt(b, z, ratio)
        self._charge(b)
        mode, zero, ceiling = self.recipe.msat.confidence, self.settings.reset == "zero", self._ceiling(b)
        theta, fired, keep = b.scratch[:3]
        theta = ratio if self.in_thresholds else torch.mul(ratio, b.theta, out=theta)
        room = None if ceiling is None else SF.room(ceiling, b.sent, ratio)
        keep = None if b.kept is None else b.kept.to(theta) if keep is None else keep.copy_(b.kept)
        before = keep if mode == "before" else None
        fired = SF.integrate_and_fire(b.potential, z, theta, self.settings.gamma, fired, zero, before, room, self.sign)
        if keep is not None and mode == "after":
            fired.mul_(keep)
        b.count.add_(fired)
        b.total.add_(b.potential)
        out = torch.mul(fired, ratio, out=b.out)
        if self._needs_sent:
            b.sent.add_(out)
        return out

    def _adapt(self, b: SimpleNamespace, z: Tensor, ratio: Tensor) -> None:
        s, work = self.recipe.msat, b.scratch
        if s.variant == "algorithm1":
            self.rule.algorithm1(ratio, b.sent / self.t, b.potential / b.theta)
            return
        mean = b.total / self.t if s.mu else None
        deviation = self._deviation(b.potential, b.total, out=work[0])
        self.rule.eq17(deviation, mean, z if s.det else None, ratio, work[1], self.sign, b.constant)

    def _start(self) -> None:
        super()._start()
        self._draw()

    def _finish(self) -> None:
        super()._finish()
        self._draw()

    def _kept(self, name: str) -> Tensor:
        chance = self.params["confidence"].item()
        return rows(below(chance, self.potential, self.recipe.encoding.seed, self.keys, name, self.t))

    def _draw(self) -> None:
        """Which spikes of the next step are kept, 0 or 1, in b.kept; None where all are."""
        kept = None
        if self.recipe.msat.confidence != "off" and self.t < CONFIDENCE_STEPS and self.params["confidence"] < 1:
            kept = self._kept(self.name)
        for block in self._blocks:
            block.kept = None if kept is None else kept[block.part]


class AdaptiveSignedMemory(Adaptive, SignedMemory):
    """Signed memory neuron whose threshold follows MSAT: coarse while the input moves, fine once it has settled.

    The potential of the rule is U = |phi(S) - what was sent|, and z counts as |z|, since the neuron fires in both
    directions. Theta tracks U as it is before the spikes of the step, the potential that they answer; the mean is of U
    after them, as in the IF neuron. Without input U never grows and the ratio tends to its value at rest, so with
    msat.stages each neuron falls silent for good; where the threshold may take any value it follows U down for ever.
    """

    in_thresholds = True
    last: Tensor

    def _names(self) -> tuple[str, ...]:
        return (*super()._names(), *(("last",) if self.recipe.msat.variant == "algorithm1" else ()))

    @property
    def follows_sums(self) -> bool:
        s = self.recipe.msat
        return super().follows_sums and s.variant == "eq17" and not s.det  # which looks at the input of the step

    def _fire(self, b: SimpleNamespace, z: Tensor | None) -> Tensor:
        s, work, ratio = self.recipe.msat, b.scratch, self._ratio(b)
        if not self.first and s.variant == "algorithm1":
            self.rule.algorithm1(ratio, b.sent / self.t, b.last)
        due = self._unsent(b, z, out=b.last if s.variant == "algorithm1" else work[3])
        if not self.first and s.variant == "eq17":
            tracked = torch.abs(due, out=work[0])
            current = torch.div(z, b.theta, out=work[1]).abs_() if s.det and z is not None else None
            mean = b.total / self.t if s.mu else None
            ratio = self.rule.eq17(self._deviation(tracked, b.total, out=tracked), mean, current, ratio, work[2])
        value = torch.mul(ratio, self.spike_weight, out=work[0]) if SF.scales(self.spike_weight) else ratio
        out, spikes = SF.send(due, b.sent, b.initial, self.settings.gamma, b.out, work[1], value)
        b.count.add_(spikes)
        b.total.add_(due.sub_(out).abs_())
        return out

    def rest(self) -> None:
        super().rest()
        for b in self._blocks:
            b.total.add_(self._unsent(b, None, b.scratch[3]).abs_())

    def quiet(self) -> bool:
        """Nothing was sent, and nothing will be while thresholds that are above their value at rest come down to it."""
        return self.silent() and not any(self._awaits(b) for b in self._blocks)

    def _awaits(self, b: SimpleNamespace) -> bool:
        """Whether a neuron of a block may still fire without input, when its threshold has come down to its rest.

        None fired in the last step: those whose threshold was below its rest will not when it has risen.
        """
        if self.recipe.msat.variant != "eq17":
            return False
        due = self._unsent(b, None, b.scratch[3])
        value = self.rule.at_rest(due.abs()) * self.spike_weight
        return bool(((due >= (1 - b.initial) * value) | (due < -b.initial * value)).any())
