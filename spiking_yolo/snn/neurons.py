"""Layers of spiking neurons: thin state around the step functions, one class per neuron kind.

A layer receives a current in the units of the ANN and sends *spikes*, counted: the value of a spike is `unit`, which
the next layer's weights absorb. `count` accumulates |n| per neuron.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..recipe import Neuron
from . import functional as SF


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """[C], [C, 1, 1] or [C, H, W] values in a shape that broadcasts against a state of `like`'s shape."""
    values = values.to(like)
    return values.reshape(values.shape + (1,) * (like.ndim - 1 - values.ndim))


class Layer:
    """State shared by all neuron kinds. Subclasses define `_allocate` and `_fire`.

    theta: [C], value of a spike. initial: potential at the start in thresholds, a scalar, [C] or [C, H, W].
    """

    neurons_per_site = 1

    def __init__(self, params: Mapping[str, Tensor], settings: Neuron, slope: float):
        self.params, self.settings, self.slope = params, settings, slope
        self.unit = params["theta"]
        self._shape: torch.Size | None = None

    def reset(self) -> None:
        """Forget everything: the next step starts a new run, of any shape."""
        self._fresh = True
        self.settled = False
        self.quantum = 1.0

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
                self._shape = current.shape
                self.out, self.count, self._scratch = (torch.empty_like(current) for _ in range(3))
                self.theta = per_channel(self.params["theta"], current)
                self.initial = per_channel(self.params["initial"], current)
                self._allocate(current)
            self.count.zero_()
            self._start()
            self._fresh = False
        self._fire(current)
        self._tally()
        return self.out

    def _tally(self) -> None:
        self.count.add_(torch.abs(self.out, out=self._scratch), alpha=1 / self.quantum)

    def _allocate(self, like: Tensor) -> None:
        self.potential = torch.empty_like(like)

    def _start(self) -> None:
        self.potential.copy_(self.initial * self.theta)

    def _fire(self, current: Any) -> None:
        raise TypeError(f"{type(self).__name__} does not fire")


class IntegrateAndFire(Layer):
    """IF neuron for ReLU."""

    def _fire(self, current: Tensor) -> None:
        zero = self.settings.reset == "zero"
        SF.integrate_and_fire(self.potential, current, self.theta, self.settings.gamma, self.out, zero)

    def _tally(self) -> None:
        self.count.add_(self.out)


class OnOffPair(Layer):
    """Two IF neurons for leaky ReLU: ON integrates z, OFF integrates -z; sent: n_on * theta_on - slope * n_off * theta_off.

    Sent in units of theta_on. Both neurons' spikes are counted.
    """

    neurons_per_site = 2

    def __init__(self, params: Mapping[str, Tensor], settings: Neuron, slope: float):
        super().__init__(params, settings, slope)
        self.on = IntegrateAndFire(params, settings, 0.0)
        self.off = IntegrateAndFire({**params, "theta": params["theta_off"]}, settings, 0.0)

    def _allocate(self, like: Tensor) -> None:
        self._negated = torch.empty_like(like)
        self._weight = (
            -self.slope * per_channel(self.params["theta_off"], like) / per_channel(self.params["theta"], like)
        )

    def _start(self) -> None:
        self.on.reset()
        self.off.reset()

    def _fire(self, current: Tensor) -> None:
        on = self.on.step(current)
        off = self.off.step(torch.neg(current, out=self._negated))
        torch.addcmul(on, off, self._weight, out=self.out)

    def _tally(self) -> None:
        torch.add(self.on.count, self.off.count, out=self.count)


class ImbalancedThreshold(Layer):
    """IBT neuron of Spiking-YOLO for leaky ReLU."""

    def _fire(self, current: Tensor) -> None:
        SF.imbalanced_threshold(self.potential, current, self.theta, self.slope, self.settings.gamma, self.out)


class SignedMemory(Layer):
    """Signed neuron with memory, for ReLU and leaky ReLU, rate and differential coding."""

    def _allocate(self, like: Tensor) -> None:
        self.potential, self.sent = torch.empty_like(like), torch.empty_like(like)

    def _start(self) -> None:
        self.potential.zero_()
        self.sent.zero_()

    def _fire(self, current: Tensor | None) -> None:
        gamma, quantum = self.settings.gamma, self.quantum
        SF.signed_memory(
            self.potential, current, self.sent, self.theta, self.slope, self.initial, gamma, self.out, quantum
        )


def build(params: Mapping[str, Tensor], settings: Neuron, slope: float) -> Layer:
    """The layer for one activation site: params has `theta`, `initial`, and `theta_off` where a pair is needed."""
    if settings.kind == "memory":
        return SignedMemory(params, settings, slope)
    if slope == 0:
        return IntegrateAndFire(params, settings, slope)
    if settings.kind == "ibt":
        return ImbalancedThreshold(params, settings, slope)
    if settings.kind == "if":
        return OnOffPair(params, settings, slope)
    raise UserError(f"unknown neuron kind {settings.kind!r}")
