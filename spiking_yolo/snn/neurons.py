"""Layers of spiking neurons: thin state around the step functions, one class per neuron kind.

A layer receives a current in the units of the ANN and sends *spikes*, counted: the value of a spike is `unit`, which
the next layer's weights absorb.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import UserError
from ..graph import Activation
from ..recipe import Recipe
from . import functional as SF
from .layer import Layer, per_channel
from .msat import AdaptiveThreshold
from .random import uniform

CONFIDENCE_STEPS = 16


class IntegrateAndFire(Layer):
    """IF neuron for ReLU, with a fixed threshold. Where there is a ceiling, functional.room keeps it."""

    def _allocate(self, like: Tensor) -> None:
        super()._allocate(like)
        shift = self.settings.shift
        self.shift = self.theta / (2 * shift) if shift else None

    def _fire(self, current: Tensor) -> None:
        if self.shift is not None:
            self.potential.add_(self.shift)
        zero = self.settings.reset == "zero"
        room = None if self.ceiling is None else SF.room(self.ceiling, self.count)
        SF.integrate_and_fire(self.potential, current, self.theta, self.settings.gamma, self.out, zero, room=room)


class AdaptiveIntegrateAndFire(IntegrateAndFire):
    """IF neuron whose threshold follows MSAT: sends n * theta(t), a graded spike.

    threshold: theta(t) of the last step. With spike confidence, spikes of the first 16 steps are kept with the layer's
    probability, after the reset (as the authors do) or before it.
    """

    def _allocate(self, like: Tensor) -> None:
        super()._allocate(like)
        self.rule = AdaptiveThreshold(self.recipe.msat, self.theta)
        self._spikes = torch.empty_like(like)

    def _start(self) -> None:
        super()._start()
        self.rule.reset(self.potential)

    def _fire(self, current: Tensor) -> None:
        mode = self.recipe.msat.confidence
        keep = self._keep() if mode != "off" and self.t < CONFIDENCE_STEPS else None
        if self.shift is not None:
            self.potential.add_(self.shift)
        ratio = self.rule.update(current)
        self.threshold = ratio * self.theta
        before = keep if mode == "before" else None
        zero = self.settings.reset == "zero"
        room = None if self.ceiling is None else SF.room(self.ceiling, self.rule.sent / self.rule.top, ratio)
        SF.integrate_and_fire(
            self.potential, current, self.threshold, self.settings.gamma, self._spikes, zero, before, room
        )
        if keep is not None and mode == "after":
            self._spikes.mul_(keep)
        torch.mul(self._spikes, ratio, out=self.out)
        self.rule.observe(self.potential, self.out * self.theta)

    def _keep(self) -> Tensor:
        chance = uniform(self.potential, self.recipe.encoding.seed, self.keys, self.name, self.t)
        return (chance < self.params["confidence"].to(chance)).to(chance)

    def _tally(self) -> None:
        self._count(self._spikes)


class OnOffPair(Layer):
    """Two neurons for leaky ReLU: ON integrates z, OFF integrates -z.

    Sent: n_on * theta_on - slope * n_off * theta_off, in units of theta_on. Both neurons' spikes are counted.
    """

    neurons_per_site = 2

    def __init__(self, params: Mapping[str, Tensor], recipe: Recipe, phi: Activation, name: str = ""):
        super().__init__(params, recipe, phi, name)
        neuron = AdaptiveIntegrateAndFire if recipe.msat.enabled else IntegrateAndFire
        both = {k: v for k, v in params.items() if k != "bias"}  # the pair adds it before the sign is turned
        self.on = neuron(both, recipe, Activation(), f"{name}/on")
        off = {"theta": params["theta_off"], "initial": params.get("initial_off", params["initial"])}
        self.off = neuron({**both, **off}, recipe, Activation(), f"{name}/off")

    def _allocate(self, like: Tensor) -> None:
        super()._allocate(like)
        self._negated = self.potential  # the pair has no potential of its own
        self._weight = -self.slope * per_channel(self.params["theta_off"], like) / self.theta

    def _start(self) -> None:
        self.on.reset(self.keys)
        self.off.reset(self.keys)

    def _fire(self, current: Tensor) -> None:
        on = self.on.step(current)
        off = self.off.step(torch.neg(current, out=self._negated))
        torch.addcmul(on, off, self._weight, out=self.out)

    def _tally(self) -> None:
        torch.add(self.on.count, self.off.count, out=self.count)
        if self._switches:
            torch.add(self.on.events, self.off.events, out=self.events)


class ImbalancedThreshold(Layer):
    """IBT neuron of Spiking-YOLO for leaky ReLU."""

    def _fire(self, current: Tensor) -> None:
        SF.imbalanced_threshold(self.potential, current, self.theta, self.slope, self.settings.gamma, self.out)


class SignedMemory(Layer):
    """Signed neuron with memory, for (leaky) ReLU, for a ReLU with a cap and for SiLU, rate and differential coding."""

    def _allocate(self, like: Tensor) -> None:
        super()._allocate(like)
        self.sent = torch.empty_like(like)

    def _start(self) -> None:
        self.potential.zero_()
        self.sent.zero_()

    def _fire(self, current: Tensor | None) -> None:
        self._send(current, self.quantum)

    def _send(self, current: Tensor | None, quantum: float | Tensor) -> None:
        SF.signed_memory(
            self.potential, current, self.sent, self.theta, self.slope, self.initial, self.settings.gamma, self.out,
            quantum, self.ceiling, self.time if self.phi.silu else 0,
        )  # fmt: skip

    def unsent(self) -> Tensor:
        """What is due and was not sent yet, in the units of the ANN; negative where too much was sent."""
        due = Activation(self.slope)(self.potential)
        if self.phi.silu:
            due = self.time * self.phi(self.potential / self.time)
        if self.ceiling is not None:
            due = torch.minimum(due, self.ceiling * self.theta)
        return due - self.sent * self.theta


class AdaptiveSignedMemory(SignedMemory):
    """Signed memory neuron whose threshold follows MSAT: coarse while the input moves, fine once it has settled.

    The potential of the rule is U = |phi(S) - what was sent|, and z counts as |z|, since the neuron fires in both
    directions. Theta tracks U as it is before the spikes of the step, the potential that they answer; the mean is of U
    after them, as in the IF neuron. Without input U never grows and the ratio tends to its value at rest, so with
    msat.stages each neuron falls silent for good; where the threshold may take any value it follows U down for ever.
    """

    def _allocate(self, like: Tensor) -> None:
        super()._allocate(like)
        self.rule = AdaptiveThreshold(self.recipe.msat, self.theta)

    def _start(self) -> None:
        super()._start()
        self.rule.reset(self.potential)

    def rest(self) -> None:
        super().rest()
        self.rule.rest()

    def _fire(self, current: Tensor | None) -> None:
        if current is not None:
            self.potential.add_(current)
        ratio = self.rule.update(None if current is None else current.abs(), self.unsent().abs_())
        self.threshold = ratio * self.theta * self.quantum
        self._value = ratio * self.quantum
        self._send(None, self._value)
        self.rule.observe(self.unsent().abs_(), self.out * self.theta)

    def _tally(self) -> None:
        self._count((self.out / self._value).round_())

    def quiet(self) -> bool:
        """Nothing was sent, and nothing will be while thresholds that are above their value at rest come down to it."""
        if self.out.any():
            return False
        rest = self.rule.at_rest()
        half = (1 - self.initial).clamp(max=self.initial) * self.theta * self.quantum  # fires beyond this, either way
        return not ((self.rule.ratio > rest) & (self.unsent().abs_() >= half * rest)).any()


def saturates(theta: Tensor, phi: Activation, recipe: Recipe) -> bool:
    """Whether IF neurons cannot pass the cap anyway: gamma spikes per step are worth at most the cap (if there is one).

    So it is with the threshold at the cap and one spike per step, the neuron of Deng 2021 and Bu 2022. The thresholds
    of MSAT's Eq. 17 stay below Theta.
    """
    return phi.cap is None or not bool((recipe.neuron.gamma * theta > phi.cap).any())


def build(params: Mapping[str, Tensor], recipe: Recipe, phi: Activation, name: str = "") -> Layer:
    """The layer for one activation site; see Layer for params, which has `theta_off` where a pair is needed.

    The levels of phi (QCFS) do not matter here: spikes make a grid of their own, which with theta = cap and T = levels
    is the same one. Raises UserError for a leaky ReLU with a cap, for SiLU with neurons other than signed memory, and
    where there is a cap for Algorithm 1 of MSAT, whose threshold falls to nothing while the potential of a saturated
    neuron grows.
    """
    kind, adaptive = recipe.neuron.kind, recipe.msat.enabled
    if phi.silu and kind != "memory":
        raise UserError(f"node {name!r} (SiLU) needs neurons that follow the sum of their input: neuron.kind=memory")
    if phi.cap is not None and phi.slope:
        raise UserError(f"node {name!r}: a leaky ReLU with a cap cannot be converted: train with a cap and slope 0")
    if phi.cap is not None and adaptive and recipe.msat.variant == "algorithm1":
        raise UserError(f"node {name!r} has a cap, which msat.variant=algorithm1 cannot keep: --set msat.variant=eq17")
    if kind == "memory":
        return (AdaptiveSignedMemory if adaptive else SignedMemory)(params, recipe, phi, name)
    if phi.slope == 0:
        bounded = Activation() if saturates(params["theta"], phi, recipe) else phi
        return (AdaptiveIntegrateAndFire if adaptive else IntegrateAndFire)(params, recipe, bounded, name)
    return (ImbalancedThreshold if kind == "ibt" else OnOffPair)(params, recipe, phi, name)
