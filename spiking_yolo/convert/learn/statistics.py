"""Activation statistics of a network on calibration images, and how a file holds them."""

import bz2
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.data.images import Picture, preprocess, read_image
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node, forward, own_dtypes
from spiking_yolo.io.text import Size, json_text
from spiking_yolo.models.spec import Spec

OCTAVES, DIVISIONS = 12, 24
BINS = 1 + OCTAVES * DIVISIONS
# A channel that has seen no value yet has this exponent.
_NONE = -126


def edges() -> Tensor:
    """Bin edges as fractions of 2^exponent: float64 [BINS + 1], from 0 to 1."""
    octaves = torch.arange(-OCTAVES, 0, dtype=torch.float64)
    divisions = torch.arange(DIVISIONS, dtype=torch.float64) / DIVISIONS
    lower = (2.0 ** octaves[:, None] * (1 + divisions)).flatten()
    return torch.cat([lower.new_zeros(1), lower, lower.new_ones(1)])


@dataclass
class Histogram:
    """A histogram of one node's pre-activations of both signs, per channel.

    counts: int64 [2, C, BINS], of positive values and of magnitudes of negative ones; exact zeros
    are in neither. exponent: int64 [C]; all magnitudes are at most 2^exponent. minimum, maximum:
    float64 [C]. total: values per channel.
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
        x = x.detach().transpose(0, 1).flatten(1).float().contiguous()
        # Counting by whole numbers takes a fifth of the time: a float is a sign, an exponent and a
        # fraction, and its bits without the sign are in the order of its magnitude.
        bits = x.view(torch.int32)
        magnitude = bits & 0x7FFFFFFF
        top = (magnitude.amax(1) >> 23) + _NONE
        exponent = torch.maximum(top.to(self.exponent.dtype), self.exponent)
        for c in (exponent > self.exponent).nonzero().flatten().tolist():
            if self.counts[:, c].any():
                self.counts[:, c] = _shift(self.counts[:, c], int(exponent[c] - self.exponent[c]))
        self.exponent = exponent
        # The octave below the channel's top, and the division of it.
        lowest = (OCTAVES - 1 + _NONE - self.exponent).to(torch.int32)[:, None]
        index = (magnitude >> 23).add_(lowest).mul_(DIVISIONS)
        index.add_((magnitude & 0x7FFFFF).mul_(DIVISIONS) >> 23).add_(1).clamp_(0, BINS - 1)
        negative = x < 0
        zero = magnitude == 0
        index.masked_fill_(zero, 0)
        first = torch.arange(len(x), dtype=torch.int32)[:, None] * (2 * BINS)
        index.add_(negative, alpha=BINS).add_(first)
        counts = torch.bincount(index.flatten(), minlength=len(x) * 2 * BINS)
        counts = counts.reshape(len(x), 2, BINS).transpose(0, 1)
        counts[0, :, 0] -= zero.sum(1)
        self.counts += counts
        self.minimum = torch.minimum(self.minimum, x.amin(1).double())
        self.maximum = torch.maximum(self.maximum, x.amax(1).double())
        self.total += x.shape[1]

    def pooled(self) -> Self:
        """The histogram of the whole layer, as one channel."""
        top = self.exponent.max()
        counts = torch.zeros_like(self.counts[:, :1])
        for c, exponent in enumerate(self.exponent.tolist()):
            counts[:, 0] += _shift(self.counts[:, c], int(top - exponent))
        total = self.total * len(self.exponent)
        ends = self.minimum.min()[None], self.maximum.max()[None]
        return type(self)(counts, top[None], *ends, total)


def _shift(counts: Tensor, octaves: int) -> Tensor:
    """Counts [..., BINS] for a top that is `octaves` higher; what falls below the last octave is
    merged.
    """
    if octaves == 0:
        return counts
    moved = min(octaves * DIVISIONS, BINS - 1)
    shifted = torch.zeros_like(counts)
    shifted[..., 1 : BINS - moved] = counts[..., 1 + moved :]
    shifted[..., 0] = counts[..., : 1 + moved].sum(-1)
    return shifted


# A file has at most so many channels: 600 MB of counts.
CHANNELS = 1 << 17
PER_CHANNEL = {"exponent": torch.int16, "minimum": torch.float32, "maximum": torch.float32}


def unpack_histograms(
    tensors: Mapping[str, Tensor], channels: Sequence[int], totals: Sequence[int]
) -> list[Histogram]:
    """Histograms of so many channels and values each, from the tensors of a file.

    Raises ValueError for tensors that do not hold exactly these, before more is unpacked than they
    take.
    """
    per_channel = [tensors[key] for key in PER_CHANNEL]
    everything = len(per_channel[0])
    if everything > CHANNELS:
        raise ValueError(f"{everything} channels, where {CHANNELS} are the most")
    size = 8 * 2 * everything * BINS
    packed = tensors["counts"].to(torch.uint8).numpy().tobytes()
    planes = np.frombuffer(bz2.BZ2Decompressor().decompress(packed, size + 1), np.uint8)
    if len(planes) != size:
        raise ValueError("the number of counts is not that of the channels")
    counts = torch.from_numpy(np.ascontiguousarray(planes.reshape(8, -1).T).view("<i8"))
    each = counts.reshape(2, everything, BINS).split(list(channels), 1)
    exponent, low, high = (t.split(list(channels)) for t in per_channel)
    histograms: list[Histogram] = []
    for n, e, a, b, total in zip(each, exponent, low, high, totals, strict=True):
        histograms.append(Histogram(n.contiguous(), e.long(), a.double(), b.double(), int(total)))
    return histograms


@dataclass(frozen=True)
class ImageList:
    """Images that something was learned from: how many, and the SHA-256 of their names in order."""

    count: int
    sha256: str

    @classmethod
    def of(cls, names: Sequence[str]) -> Self:
        return cls(len(names), hashlib.sha256(json_text(list(names)).encode()).hexdigest())


@dataclass(frozen=True)
class Statistics:
    """One histogram per activation node, and the network and images they were taken from."""

    histograms: dict[str, Histogram]
    weights_sha256: str
    imgsz: Size
    images: ImageList

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors, in which one channel lies behind the other, and entry in the file."""
        channels: dict[str, int] = {}
        totals: dict[str, int] = {}
        for name, histogram in self.histograms.items():
            channels[name] = len(histogram.exponent)
            totals[name] = histogram.total
        histograms = list(self.histograms.values())
        counts = torch.cat([h.counts for h in histograms], 1).numpy()
        # The lowest bytes come first, then all second ones, ...: bz2 unpacks them in half the time.
        planes = np.ascontiguousarray(counts, "<i8").reshape(-1, 1).view(np.uint8).T
        packed = bytearray(bz2.compress(planes.tobytes()))
        tensors = {"counts": torch.frombuffer(packed, dtype=torch.uint8)}
        for key, dtype in PER_CHANNEL.items():
            tensors[key] = torch.cat([getattr(h, key) for h in histograms]).to(dtype)
        return tensors, {"images": asdict(self.images), "channels": channels, "totals": totals}

    @classmethod
    def of_contents(
        cls, tensors: Mapping[str, Tensor], content: Mapping[str, Any], sha256: str, imgsz: Size
    ) -> Self:
        """The inverse of `contents`. Raises ValueError or LookupError for what is damaged."""
        totals = content["totals"]
        channels = [content["channels"][name] for name in totals]
        histograms = unpack_histograms(tensors, channels, list(totals.values()))
        named = dict(zip(totals, histograms, strict=True))
        return cls(named, sha256, imgsz, ImageList(**content["images"]))


@own_dtypes()
@torch.no_grad()
def collect_histograms(graph: Graph, batches: Iterable[Tensor]) -> dict[str, Histogram]:
    """Histograms of the pre-activations of every activation node over batches of images [N, C, H,
    W]; of softmax, whose range follows from no range of scores, of the results.
    """
    if not graph.activations:
        raise UserError("the network has no activation, such as ReLU, where neurons could spike")
    histograms: dict[str, Histogram] = {}

    def tap(node: Node, before: Tensor, after: Tensor) -> None:
        histogram = histograms.setdefault(node.name, Histogram.empty(before.shape[1]))
        histogram.update((after if node.phi.softmax else before).cpu())
        if not (histogram.maximum - histogram.minimum).isfinite().all():
            raise UserError(f"the input of node {node.name!r} is not finite: fetch the file again")

    for batch in batches:
        forward(graph, batch, tap)
    return histograms


def take_statistics(
    graph: Graph, spec: Spec, weights_sha256: str, pictures: Iterable[Picture]
) -> tuple[Statistics, list[Picture], list[str]]:
    """Statistics of a network over images.

    Returns:
        The statistics, the images that were read, and one message per image that could not be.

    Raises:
        UserError: No image could be read.
    """
    used: list[Picture] = []
    skipped: list[str] = []

    def batches() -> Iterator[Tensor]:
        waiting: list[Tensor] = []
        for picture in pictures:
            try:
                x, _ = preprocess(read_image(picture.source), spec)
            except UserError as error:
                skipped.append(str(error))
                continue
            used.append(picture)
            waiting.append(x)
            if len(waiting) == spec.images_at_once:
                yield spec.normalised(torch.stack(waiting))
                waiting.clear()
        if waiting:
            yield spec.normalised(torch.stack(waiting))
        if not used:
            raise UserError(f"no image to calibrate on: {[*skipped, 'give at least one'][0]}")

    histograms = collect_histograms(graph, batches())
    size = (spec.height, spec.width)
    images = ImageList.of([picture.identity for picture in used])
    return Statistics(histograms, weights_sha256, size, images), used, skipped
