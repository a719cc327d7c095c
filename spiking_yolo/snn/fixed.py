"""Neurons with a fixed threshold: thin state around the step functions."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from spiking_yolo.snn import functional as SF
from spiking_yolo.snn.layer import Layer


class IntegrateAndFire(Layer):
    """IF neuron for ReLU, with a fixed threshold. Where there is a ceiling, functional.room keeps it."""

    @property
    def shift(self) -> Tensor | None:
        """What is added to the potential in every step; None for nothing."""
        return self.theta / (2 * self.settings.shift) if self.settings.shift else None

    def _fire(self, b: SimpleNamespace, z: Tensor) -> Tensor:
        self._charge(b)
        ceiling, zero = self._ceiling(b), self.settings.reset == "zero"
        room = None if ceiling is None else SF.room(ceiling, b.count)
        gamma = self.settings.gamma
        out = SF.integrate_and_fire(b.potential, z, b.theta, gamma, b.out, zero, None, room, self.sign)
        b.count.add_(out)
        return out

    def _charge(self, b: SimpleNamespace) -> None:
        if self.settings.shift:
            b.potential.add_(b.theta / (2 * self.settings.shift))


class ImbalancedThreshold(Layer):
    """IBT neuron of Spiking-YOLO for leaky ReLU."""

    def _fire(self, b: SimpleNamespace, z: Tensor) -> Tensor:
        spikes = SF.imbalanced_threshold(b.potential, z, b.theta, self.slope, self.settings.gamma, b.out)
        b.count.add_(torch.abs(spikes, out=b.scratch[0]))
        return spikes


class SignedMemory(Layer):
    """Signed neuron with memory, for (leaky) ReLU, for a ReLU with a cap and for SiLU, rate and differential coding."""

    sent: Tensor

    def _names(self) -> tuple[str, ...]:
        return (*super()._names(), "sent")

    @property
    def follows_sums(self) -> bool:
        return "bias" not in self.params  # which is added to the input

    def _start(self) -> None:
        """The potential is the sum of the input, and starts at 0."""

    def _fire(self, b: SimpleNamespace, z: Tensor | None) -> Tensor:
        due = self._unsent(b, z, b.out)
        out, spikes = SF.send(due, b.sent, b.initial, self.settings.gamma, due, b.scratch[0], self.spike_weight)
        b.count.add_(spikes)
        return out

    def _unsent(self, b: SimpleNamespace, z: Tensor | None, out: Tensor | None) -> Tensor:
        """What is due with the current of this step, in thresholds."""
        if z is not None:
            b.potential.add_(z)
        return SF.unsent(b.potential, b.sent, b.theta, self.slope, out, self._ceiling(b), self._silu_time)

    def unsent(self) -> Tensor:
        """What is due and was not sent yet, in the units of the ANN; negative where too much was sent."""
        out = torch.empty_like(self.potential)
        due = SF.unsent(self.potential, self.sent, self.theta, self.slope, out, self.ceiling, self._silu_time)
        return due.mul_(self.theta)

    @property
    def _silu_time(self) -> float | Tensor | None:
        return self.time if self.phi.silu else None
