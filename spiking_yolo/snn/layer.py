"""What the layers of spiking neurons have in common: parameters, counts, and when they may be skipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..graph import Activation
from ..recipe import Recipe


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """[C], [C, 1, 1] or [C, H, W] values in a shape that broadcasts against a state of `like`'s shape."""
    values = values.to(like)
    return values.reshape(values.shape + (1,) * (like.ndim - 1 - values.ndim))


class Layer:
    """State shared by all neuron kinds. Subclasses define `_start` and `_fire`.

    params: theta [C], the value of a spike; initial, the potential at the start in thresholds (scalar, [C] or
    [C, H, W]); and, where calibrated, bias [C], added to the current, and confidence, a scalar.
    phi: the activation that the neurons follow. Its cap bounds the sum of what is sent by `ceiling`, in thresholds:
    cap * t in rate coding, where a sum stands for t times an activation, and cap in differential coding.
    time: how many activations a sum stands for, t in rate coding and 1 in differential coding.
    count: spikes so far per neuron. events: what its synapses received so far, the same unless events=switches.
    """

    neurons_per_site = 1

    def __init__(self, params: Mapping[str, Tensor], recipe: Recipe, phi: Activation, name: str = ""):
        self.params, self.recipe, self.settings, self.name = params, recipe, recipe.neuron, name
        self.phi, self.slope = phi.continuous, phi.slope
        self.ceiling: Tensor | None = None
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
        if current is not None and self.bias is not None and (self.t == 0 or self._is_rate):
            current = current + self.bias
        self.time = self.t + 1 if self._is_rate else 1
        if self.phi.cap is not None:
            self.ceiling = self.phi.cap / self.theta * self.time
        self._fire(current)
        self.t += 1
        self._tally()
        return self.out

    def quiet(self) -> bool:
        """Whether nothing was sent, and nothing will be until something is received."""
        return not self.out.any()

    def rest(self) -> None:
        """A timestep of a settled layer that receives nothing: it sends nothing."""
        self.t += 1

    @property
    def _switches(self) -> bool:
        return self.settings.events == "switches"

    @property
    def _is_rate(self) -> bool:
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
