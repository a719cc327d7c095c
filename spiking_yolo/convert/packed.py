"""Histograms in a sixth of their bytes or less, without loss.

A count is split like a floating-point number: into the next of four steps an octave at or below it, and what it exceeds
that by. The steps change slowly from bin to bin, so these bytes are compressed; the bits of the excess are as random as
counts are, and are packed as they are.
"""

import bz2
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.convert.histogram import BINS, Histogram

# The steps, 0, 1, 2, ... 7, 8, 10, 12, 14, 16, 20, ..., and the bits of an excess over each.
STEPS = np.array([0, 1, 2, 3, *((4 + quarter) << octave for octave in range(61) for quarter in range(4))])
BITS = np.array([0, 0, 0, 0, *(octave for octave in range(61) for _ in range(4))], np.uint8)
CHANNELS = 1 << 17  # at most in a file: 600 MB of counts


def pack_histograms(histograms: Sequence[Histogram]) -> dict[str, Tensor]:
    """Their tensors, one channel behind the other: three of all channels, and two of all counts."""
    steps, excess = split(torch.cat([h.counts for h in histograms], 1).numpy().ravel())
    return {
        "steps": torch.frombuffer(bytearray(bz2.compress(steps.tobytes())), dtype=torch.uint8),
        "excess": torch.from_numpy(excess),
        "exponent": torch.cat([h.exponent for h in histograms]).to(torch.int16),
        "minimum": torch.cat([h.minimum for h in histograms]).float(),
        "maximum": torch.cat([h.maximum for h in histograms]).float(),
    }


def unpack_histograms(tensors: Mapping[str, Tensor], channels: Sequence[int], totals: Sequence[int]) -> list[Histogram]:
    """The inverse of `pack_histograms`, for histograms of so many channels and values each.

    Raises ValueError for tensors that do not hold exactly these, before more is unpacked than they take.
    """
    per_channel = [tensors[key] for key in ("exponent", "minimum", "maximum")]
    everything = sum(channels)
    if min(channels, default=0) < 0 or any(t.shape != (everything,) for t in per_channel):
        raise ValueError("the number of channels is not that of the tensors")
    if everything > CHANNELS:
        raise ValueError(f"{everything} channels, where {CHANNELS} are the most")
    size = 2 * everything * BINS
    steps = bz2.BZ2Decompressor().decompress(_bytes(tensors["steps"]).tobytes(), size + 1)
    if len(steps) != size:
        raise ValueError("the number of counts is not that of the channels")
    counts = joined(np.frombuffer(steps, np.uint8), _bytes(tensors["excess"]))
    each = torch.from_numpy(counts).reshape(2, everything, BINS).split(list(channels), 1)
    exponent, low, high = (t.split(list(channels)) for t in per_channel)
    return [
        Histogram(n.contiguous(), e.long(), a.double(), b.double(), int(total))
        for n, e, a, b, total in zip(each, exponent, low, high, totals, strict=True)
    ]


def split(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts, int64 [n]: the number of each one's step, uint8 [n], and the bits of the excesses, lowest bits first."""
    steps = (np.searchsorted(STEPS, counts, "right") - 1).astype(np.uint8)
    excess, at = counts - STEPS[steps], BITS[steps]
    bits = [np.empty(0, bool), *(excess[at > k] >> k & 1 == 1 for k in range(at.max(initial=0)))]
    return steps, np.packbits(np.concatenate(bits))


def joined(steps: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """The inverse of `split`. Raises ValueError for unknown steps, and when these want another number of bits."""
    if steps.max(initial=0) >= len(STEPS):
        raise ValueError("a count has an unknown step")
    wanted = BITS[steps]
    if len(excess) != (int(wanted.sum(dtype=np.int64)) + 7) // 8:
        raise ValueError("the bits of the counts are not as many as their steps say")
    counts, bits = STEPS[steps], np.unpackbits(excess)
    at = np.flatnonzero(wanted)
    for k in range(wanted.max(initial=0)):
        at = at[wanted[at] > k]
        counts[at] |= bits[: len(at)].astype(np.int64) << k
        bits = bits[len(at) :]
    return counts


def _bytes(tensor: Tensor) -> np.ndarray:
    if tensor.dtype != torch.uint8 or tensor.ndim != 1:
        raise ValueError("bytes are missing")
    return tensor.numpy()
