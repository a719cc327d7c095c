"""One-pass histograms of an activation node, fine enough for any percentile and MMSE threshold.

Bins are log-linear, like floating-point numbers: below the channel's top, 2^exponent, lie OCTAVES octaves of DIVISIONS
equal bins each, and a last bin that reaches down to zero. A larger value raises the top by whole octaves and moves the
counts down, so no second pass is needed.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

OCTAVES, DIVISIONS = 12, 24
BINS = 1 + OCTAVES * DIVISIONS
_NONE = -126  # exponent of a channel that has seen no value yet


def edges() -> Tensor:
    """Bin edges as fractions of 2^exponent: float64 [BINS + 1], from 0 to 1."""
    octaves = torch.arange(-OCTAVES, 0, dtype=torch.float64)
    divisions = torch.arange(DIVISIONS, dtype=torch.float64) / DIVISIONS
    lower = (2.0 ** octaves[:, None] * (1 + divisions)).flatten()
    return torch.cat([torch.zeros(1, dtype=torch.float64), lower, torch.ones(1, dtype=torch.float64)])


@dataclass
class Histogram:
    """Both signs of one node's pre-activations, per channel.

    counts: int64 [2, C, BINS], of positive values and of magnitudes of negative ones; exact zeros are in neither.
    exponent: int64 [C]; all magnitudes are at most 2^exponent. minimum, maximum: float64 [C]. total: values per
    channel.
    """

    counts: Tensor
    exponent: Tensor
    minimum: Tensor
    maximum: Tensor
    total: int = 0

    @classmethod
    def empty(cls, channels: int) -> Self:
        inf = torch.full((channels,), float("inf"), dtype=torch.float64)
        exponent = torch.full((channels,), _NONE)
        return cls(torch.zeros(2, channels, BINS, dtype=torch.int64), exponent, inf, -inf)

    def update(self, x: Tensor) -> None:
        """Count a batch of pre-activations, [N, C, ...]."""
        x = x.detach().transpose(0, 1).flatten(1).float()
        magnitude = x.abs()
        largest = magnitude.amax(1)
        top = torch.where(largest > 0, torch.frexp(largest)[1].clamp(min=_NONE), _NONE)  # frexp gives zero exponent 0
        self._raise(torch.maximum(top.to(self.exponent.dtype), self.exponent))
        mantissa, exponent = torch.frexp(magnitude)  # magnitude = mantissa * 2^exponent, mantissa in [1/2, 1)
        octave = OCTAVES - 1 - (self.exponent[:, None] - exponent)
        index = 1 + octave * DIVISIONS + ((2 * mantissa - 1) * DIVISIONS).long()
        index = torch.where(octave < 0, 0, index.clamp(max=BINS - 1))
        channel = torch.arange(len(x))[:, None] * BINS
        for sign, chosen in enumerate((x > 0, x < 0)):
            flat = (index + channel)[chosen]
            self.counts[sign] += torch.bincount(flat, minlength=len(x) * BINS).reshape(len(x), BINS)
        self.minimum = torch.minimum(self.minimum, x.amin(1).double())
        self.maximum = torch.maximum(self.maximum, x.amax(1).double())
        self.total += x.shape[1]

    def _raise(self, exponent: Tensor) -> None:
        for c in (exponent > self.exponent).nonzero().flatten().tolist():
            if self.counts[:, c].any():
                self.counts[:, c] = _shift(self.counts[:, c], int(exponent[c] - self.exponent[c]))
        self.exponent = exponent

    def pooled(self) -> Self:
        """The histogram of the whole layer, as one channel."""
        top = self.exponent.max()
        shifted = torch.stack([_shift(self.counts[:, c], int(top - e)) for c, e in enumerate(self.exponent.tolist())])
        total = self.total * len(self.exponent)
        counts = shifted.sum(0)[:, None]
        return type(self)(counts, top[None], self.minimum.min()[None], self.maximum.max()[None], total)


def _shift(counts: Tensor, octaves: int) -> Tensor:
    """Counts [..., BINS] for a top that is `octaves` higher; what falls below the last octave is merged."""
    if octaves == 0:
        return counts
    moved = min(octaves * DIVISIONS, BINS - 1)
    shifted = torch.zeros_like(counts)
    shifted[..., 1 : BINS - moved] = counts[..., 1 + moved :]
    shifted[..., 0] = counts[..., : 1 + moved].sum(-1)
    return shifted
