"""Event-driven computation: where nothing has arrived nothing is computed, and the same spikes come out.

A map is [N * H * W, C], one row per position (see layout.py). What is sent in a step is often zero but for some rows.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from spiking_yolo.snn.backend.grid import Grid, grid_of
from spiking_yolo.snn.backend.layout import empty, rows

T = TypeVar("T")


@dataclass(frozen=True)
class Active:
    """Some rows of a map. values: [n, C]. where: [n], which rows, in order. shape: of the map, [N, C, H, W].

    whole: the map, where it is at hand; without it, it is zero elsewhere.
    """

    values: Tensor
    where: Tensor
    shape: torch.Size
    whole: Tensor | None = None

    @classmethod
    def of(cls, x: Tensor) -> "Active":
        """The rows of a map [N, C, H, W] that are not all zero."""
        where = _nonzero(rows(x))
        return cls(rows(x).index_select(0, where), where, x.shape, x)

    def images(self) -> Tensor:
        """1 for each image of which there is a row, else 0: [N]."""
        image = self.where.div(self.shape[2:].numel(), rounding_mode="floor")
        return torch.zeros(self.shape[0], dtype=torch.int64, device=self.where.device).index_fill_(0, image, 1)

    def counted(self) -> Tensor:
        """How many values of each position are not zero, [N, 1, H, W]."""
        counts = self.values.count_nonzero(1)[:, None]
        return Active(counts, self.where, torch.Size((self.shape[0], 1, *self.shape[2:]))).dense()

    def nonzero(self) -> "Active":
        """Without the rows that are zero."""
        kept = _nonzero(self.values)
        return Active(self.values.index_select(0, kept), self.where.index_select(0, kept), self.shape)

    def dense(self) -> Tensor:
        """The map, [N, C, H, W]."""
        if self.whole is not None:
            return self.whole
        result = empty(self.shape, self.values, self.values.dtype).zero_()
        rows(result).index_copy_(0, self.where, self.values)
        return result


def _nonzero(lines: Tensor) -> Tensor:
    """Which rows of [n, C] are not all zero."""
    return lines.abs().sum(1).nonzero().view(-1)  # any() takes three times as long


def dense(value: Tensor | Active) -> Tensor:
    return value.dense() if isinstance(value, Active) else value


def take(tree: T, where: Tensor) -> T:
    """The same dataclass of tensors [n, C] with some of their rows, as copies."""
    part = copy(tree)
    for name, value in vars(tree).items():
        if value is not None:
            setattr(part, name, value.index_select(0, where))
    return part


def put(tree: Any, where: Tensor, part: Any) -> None:
    """Write back what `take` took."""
    for name, value in vars(tree).items():
        if value is not None:
            value.index_copy_(0, where, getattr(part, name))


class ActiveConvolution:
    """A convolution without bias, of the rows that something reaches. weight: [out, in, kh, kw], of one group.

    Two ways: gather what each kernel lies on, or scatter what each input sends, of the channels that send anything. The
    first suits large maps of few channels, the second small maps of many. The one that takes least by the estimates
    below is chosen; their unit is a multiply-accumulate of a dense convolution, and their factors were measured.
    """

    GATHERED, COPIED, ADDED = 2.5, 60.0, 150.0  # per multiply-accumulate, weight that is copied, partial sum

    def __init__(self, weight: Tensor, attrs: Mapping[str, Any]):
        self._weight = weight
        self._kernel, self._stride, self._padding = tuple(weight.shape[2:]), tuple(attrs["stride"]), attrs["padding"]
        self._padded: Tensor | None = None

    @staticmethod
    def serves(attrs: Mapping[str, Any]) -> bool:
        """Whether a convolution of these attributes can be computed so."""
        return attrs["groups"] == 1 and tuple(attrs["dilation"]) == (1, 1)

    def __call__(self, x: Active) -> Active | None:
        """None where so many outputs are reached that it does not pay."""
        n, _, h, w = x.shape
        out, taps = len(self._weight), self._kernel[0] * self._kernel[1]
        grid = grid_of(n, h, w, self._kernel, self._stride, tuple(self._padding), x.where.device)
        where = grid.reached(x.where)
        channels = x.values.any(0).nonzero().flatten()
        per_input = taps * out
        dense = len(grid.windows) * x.shape[1] * per_input
        gather = self.GATHERED * len(where) * x.shape[1] * per_input
        scatter = (self.GATHERED * len(x.where) + self.COPIED) * len(channels) * per_input
        scatter += self.ADDED * len(x.where) * per_input * (taps > 1)
        by_channel = scatter < gather and self._stride == (1, 1)
        if (scatter if by_channel else gather) > dense:
            return None
        x = Active(x.values.to(self._weight.dtype), x.where, x.shape)
        values = self._scatter(x, grid, where, channels) if by_channel else self._gather(x, grid, where)
        return Active(values, where, torch.Size((n, out, *grid.outputs)))

    @cached_property
    def _matrix(self) -> Tensor:
        """[kh * kw * in, out]."""
        return self._weight.permute(2, 3, 1, 0).reshape(-1, len(self._weight)).contiguous()

    @cached_property
    def _by_channel(self) -> Tensor:
        """[in, kh * kw * out], the kernels turned round."""
        return self._weight.flip(2, 3).permute(1, 2, 3, 0).flatten(1).contiguous()

    def _scatter(self, x: Active, grid: Grid, where: Tensor, channels: Tensor) -> Tensor:
        """What the outputs `where` receive, [n, out]."""
        partial = x.values.index_select(1, channels) @ self._by_channel.index_select(0, channels)
        if grid.pointwise:
            return partial
        slots = grid.slots(where).index_select(0, grid.reached_by(x.where).flatten())
        sums = partial.new_zeros((len(where) + 1, len(self._weight)))  # the last of what lies beyond the border
        return sums.index_add_(0, slots, partial.view(-1, len(self._weight)))[:-1]

    def _gather(self, x: Active, grid: Grid, where: Tensor) -> Tensor:
        """What the outputs `where` receive, [n, out]."""
        return self._windows(x, grid, where) @ self._matrix

    def _windows(self, x: Active, grid: Grid, where: Tensor) -> Tensor:
        """What each kernel lies on, [n, kh * kw * in]: kh runs of kw * in neighbours in memory."""
        c, (kh, kw), values = x.shape[1], self._kernel, x.values
        if grid.pointwise:
            return values
        if self._padded is None or self._padded.shape != (grid.padded, c):
            self._padded = values.new_zeros((grid.padded, c))
        places = grid.places.index_select(0, x.where)
        runs = self._padded.as_strided((grid.padded - kw + 1, kw * c), (c, 1))
        starts = grid.windows.index_select(0, where)[:, None] + grid.lines
        try:
            self._padded.index_copy_(0, places, values)
            return runs.index_select(0, starts.flatten()).view(len(where), kh * kw * c)
        finally:  # empty for the next call, whatever interrupted this one
            self._padded.index_fill_(0, places, 0)
