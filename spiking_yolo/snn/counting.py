"""Three ways to count what travels in a step, for a neuron that sends n thresholds at once.

A burst of n unit spikes counts n. As signed digits (see digits.py) it is the sum of a few events +-2^k, each an
address, a sign and a small exponent. As one message with n as its payload it is a single event, as on Loihi 2.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor

Counting = Literal["spikes", "digits", "messages"]


class Counts(NamedTuple):
    """Something in each of the three countings: events per neuron, or a sum over neurons or images."""

    spikes: Any
    digits: Any
    messages: Any

    @classmethod
    def alike(cls, value: Any) -> Self:
        """Where an event is one spike, one digit and one message."""
        return cls(value, value, value)

    @classmethod
    def of(cls, f: Callable[..., Any], *counts: "Counts") -> Self:
        """f of the same counting of each."""
        return cls(*(f(*values) for values in zip(*counts, strict=True)))

    def stacked(self) -> Tensor:
        """All three in one tensor, [3 * N, ...]; of [N, ...] each."""
        return torch.cat(self)

    @classmethod
    def unstacked(cls, values: Tensor) -> Self:
        """What `stacked` made, or what was computed of it for each of its rows."""
        return cls(*values.chunk(3))

    def of_image(self, k: int) -> dict[str, float]:
        """Those of one image of a batch, by counting: plain numbers."""
        return {name: float(value[k]) for name, value in self._asdict().items()}
