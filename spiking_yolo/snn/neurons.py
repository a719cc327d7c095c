"""Layers of spiking neurons: thin state around the step functions, one class per neuron kind.

A layer receives a current in the units of the ANN and sends *spikes*, counted: the value of a spike is `unit`, which
the next layer's weights absorb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..graph import activation
from ..recipe import Recipe
from . import functional as SF
from .msat import AdaptiveThreshold
from .random import uniform

CONFIDENCE_STEPS = 16


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """[C], [C, 1, 1] or [C, H, W] values in a shape that broadcasts against a state of `like`'s shape."""
    values = values.to(like)
    return values.reshape(values.shape + (1,) * (like.ndim - 1 - values.ndim))


class Layer:
    """State shared by all neuron kinds. Subclasses define `_start` and `_fire`.

    params: theta [C], the value of a spike; initial, the potential at the start in thresholds (scalar, [C] or
    [C, H, W]); and, where calibrated, bias [C], added to the current, and confidence, a scalar.
    count: spikes so far per neuron. events: what its synapses received so far, the same unless events=switches.
    """

    neurons_per_site = 1

    def __init__(self, params: Mapping[str, Tensor], recipe: Recipe, slope: float, name: str = ""):
        self.params, self.recipe, self.settings, self.slope, self.name = params, recipe, recipe.neuron, slope, name
        self.unit = params["theta"]
        self._shape: torch.Size | None = None

    def reset(self, keys: Sequence[int] = ()) -> None:
        """Forget everything: the next step starts a new run, of any shape. keys: of the images, for randomness."""
        self._fresh = True
        self.settled = False
        self.quantum = 1.0
        self.keys = keys
        self.t = 0

    def step(self, current: Tensor | None, quantum: float = 1.0) -> Tensor:
        """What is sent in this timestep in units, a tensor that the next step overwrites.

        current: what was received, None for nothing. quantum: value of one spike in units, below 1 when the coding has
        been refined.
        """
        self.quantum = quantum
        if self._fresh:
            if current is None:
                raise ValueError("the first step needs a current")
            if self._shape != current.shape or self.count.dtype != current.dtype:
                self._allocate(current)
            self.count.zero_()
            if self._switches:
                self.events.zero_()
                self._last.zero_()
            self._start()
            self._fresh = False
        if current is not None and self.bias is not None and (self.t == 0 or self._biased_always):
            current = current + self.bias
        self._fire(current)
        self.t += 1
        self._tally()
        return self.out

    @property
    def _switches(self) -> bool:
        return self.settings.events == "switches"

    @property
    def _biased_always(self) -> bool:
        return self.recipe.encoding.coding == "rate"

    def _allocate(self, like: Tensor) -> None:
        self._shape = like.shape
        self.out, self.count, self._scratch, self.potential = (torch.empty_like(like) for _ in range(4))
        self.events = self.count
        if self._switches:
            self.events, self._last = torch.empty_like(like), torch.empty_like(like)
        self.theta = per_channel(self.params["theta"], like)
        self.initial = per_channel(self.params["initial"], like)
        self.bias = per_channel(self.params["bias"], like) if "bias" in self.params else None

    def _tally(self) -> None:
        self._count(self.out, self.quantum)

    def _count(self, spikes: Tensor, quantum: float = 1.0) -> None:
        self.count.add_(torch.abs(spikes, out=self._scratch), alpha=1 / quantum)
        if self._switches:
            self.events.add_(torch.sub(spikes, self._last, out=self._scratch).abs_(), alpha=1 / quantum)
            self._last.copy_(spikes)

    def _start(self) -> None:
        self.potential.copy_(self.initial * self.theta)

    def _fire(self, current: Any) -> None:
        raise TypeError(f"{type(self).__name__} does not fire")


class IntegrateAndFire(Layer):
    """IF neuron for ReLU, with a fixed threshold."""

    def _allocate(self, like: Tensor) -> None:
        super()._allocate(like)
        shift = self.settings.shift
        self.shift = self.theta / (2 * shift) if shift else None

    def _fire(self, current: Tensor) -> None:
        if self.shift is not None:
            self.potential.add_(self.shift)
        zero = self.settings.reset == "zero"
        SF.integrate_and_fire(self.potential, current, self.theta, self.settings.gamma, self.out, zero)


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
        SF.integrate_and_fire(self.potential, current, self.threshold, self.settings.gamma, self._spikes, zero, before)
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

    def __init__(self, params: Mapping[str, Tensor], recipe: Recipe, slope: float, name: str = ""):
        super().__init__(params, recipe, slope, name)
        neuron = AdaptiveIntegrateAndFire if recipe.msat.enabled else IntegrateAndFire
        both = {k: v for k, v in params.items() if k != "bias"}  # the pair adds it before the sign is turned
        self.on = neuron(both, recipe, 0.0, f"{name}/on")
        off = {"theta": params["theta_off"], "initial": params.get("initial_off", params["initial"])}
        self.off = neuron({**both, **off}, recipe, 0.0, f"{name}/off")

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
    """Signed neuron with memory, for ReLU and leaky ReLU, rate and differential coding."""

    def _allocate(self, like: Tensor) -> None:
        super()._allocate(like)
        self.sent = torch.empty_like(like)

    def _start(self) -> None:
        self.potential.zero_()
        self.sent.zero_()

    def _fire(self, current: Tensor | None) -> None:
        self._send(current, self.quantum)

    def _send(self, current: Tensor | None, quantum: float | Tensor) -> None:
        gamma = self.settings.gamma
        SF.signed_memory(
            self.potential, current, self.sent, self.theta, self.slope, self.initial, gamma, self.out, quantum
        )


class AdaptiveSignedMemory(SignedMemory):
    """Signed memory neuron whose threshold follows MSAT; its potential, for the rule, is phi(S) - what was sent."""

    def _allocate(self, like: Tensor) -> None:
        super()._allocate(like)
        self.rule = AdaptiveThreshold(self.recipe.msat, self.theta)

    def _start(self) -> None:
        super()._start()
        self.rule.reset(self.potential)

    def _fire(self, current: Tensor | None) -> None:
        ratio = self.rule.update(current)
        self.threshold = ratio * self.theta * self.quantum
        self._value = ratio * self.quantum
        self._send(current, self._value)
        residual = activation(self.potential, self.slope) - self.sent * self.theta
        self.rule.observe(residual, self.out * self.theta)

    def _tally(self) -> None:
        self._count((self.out / self._value).round_())


def build(params: Mapping[str, Tensor], recipe: Recipe, slope: float, name: str = "") -> Layer:
    """The layer for one activation site; see Layer for params, which has `theta_off` where a pair is needed."""
    kind, adaptive = recipe.neuron.kind, recipe.msat.enabled
    if kind == "memory":
        return (AdaptiveSignedMemory if adaptive else SignedMemory)(params, recipe, slope, name)
    if slope == 0:
        return (AdaptiveIntegrateAndFire if adaptive else IntegrateAndFire)(params, recipe, slope, name)
    return (ImbalancedThreshold if kind == "ibt" else OnOffPair)(params, recipe, slope, name)
