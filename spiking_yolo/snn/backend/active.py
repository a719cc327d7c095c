"""Event-driven computation: where nothing has arrived nothing is computed, and the same spikes come out.

A map is [N * H * W, C], one row per position (see layout.py). What is sent in a step is often zero but for some rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.snn.backend.layout import empty, rows
from spiking_yolo.snn.backend.tree import leaves, map_tree

MOST_ROWS = 0.4  # of the outputs of a convolution; with more, all are computed in the same time


@dataclass(frozen=True)
class Active:
    """Some rows of a map. values: [n, C]. where: [n], which rows, in order. shape: of the map, [N, C, H, W].

    whole: the map, where it is at hand; None if it is zero elsewhere.
    """

    values: Tensor
    where: Tensor
    shape: torch.Size
    whole: Tensor | None = None

    @classmethod
    def of(cls, x: Tensor) -> "Active":
        """The rows of a map [N, C, H, W] that are not all zero."""
        lines = rows(x)
        return cls(lines, torch.arange(len(lines), device=x.device), x.shape).nonzero()

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
        kept = self.values.count_nonzero(1).nonzero().flatten()
        return Active(self.values.index_select(0, kept), self.where.index_select(0, kept), self.shape)

    def dense(self) -> Tensor:
        """The map, [N, C, H, W]."""
        if self.whole is not None:
            return self.whole
        result = empty(self.shape, self.values, self.values.dtype).zero_()
        rows(result).index_copy_(0, self.where, self.values)
        return result


def dense(value: Tensor | Active) -> Tensor:
    return value.dense() if isinstance(value, Active) else value


def take(tree: Any, where: Tensor) -> Any:
    """The same dataclass of tensors [n, C] with some of their rows, as copies."""
    return map_tree(lambda x: x.index_select(0, where), tree)


def put(tree: Any, where: Tensor, part: Any) -> None:
    """Write back what `take` took."""
    for whole, new in zip(leaves(tree), leaves(part), strict=True):
        whole.index_copy_(0, where, new)


class ActiveConvolution:
    """A convolution without bias, of the rows that something reaches. weight: [out, in, kh, kw], of one group."""

    def __init__(self, weight: Tensor, attrs: Mapping[str, Any]):
        self._matrix = weight.permute(2, 3, 1, 0).reshape(-1, len(weight)).contiguous()
        self._kernel, self._stride, self._padding = tuple(weight.shape[2:]), tuple(attrs["stride"]), attrs["padding"]
        self._padded: Tensor | None = None

    @staticmethod
    def serves(attrs: Mapping[str, Any]) -> bool:
        """Whether a convolution of these attributes can be computed so."""
        return attrs["groups"] == 1 and tuple(attrs["dilation"]) == (1, 1)

    def __call__(self, x: Active) -> Active | None:
        """None where so many outputs are reached that it does not pay."""
        n, _, h, w = x.shape
        grid = _grid(n, h, w, self._kernel, self._stride, tuple(self._padding), x.where.device)
        where = grid.reached(x.where)
        if len(where) > MOST_ROWS * len(grid.windows):
            return None
        values = self._windows(x, grid, where) @ self._matrix
        return Active(values, where, torch.Size((n, self._matrix.shape[1], *grid.outputs)))

    def _windows(self, x: Active, grid: "_Grid", where: Tensor) -> Tensor:
        """What each kernel lies on, [n, kh * kw * in]: kh runs of kw * in neighbours in memory."""
        c, (kh, kw) = x.shape[1], self._kernel
        values = x.values.to(self._matrix.dtype)
        if (kh, kw) == (1, 1) and self._stride == (1, 1) and not any(self._padding):
            return values
        if self._padded is None or self._padded.shape != (grid.padded, c):
            self._padded = values.new_zeros((grid.padded, c))
        places = grid.places.index_select(0, x.where)
        self._padded.index_copy_(0, places, values)
        runs = self._padded.as_strided((grid.padded - kw + 1, kw * c), (c, 1))
        starts = grid.windows.index_select(0, where)[:, None] + grid.lines
        windows = runs.index_select(0, starts.flatten()).view(len(where), -1)
        self._padded.index_fill_(0, places, 0)
        return windows


@dataclass(frozen=True)
class _Grid:
    """Where things lie in a padded map, flat. padded: its positions. places: of each input. windows: of each output,
    where its kernel begins. lines: of a kernel, from there. reaching, spread: see `reached`. outputs: height and width.
    """

    shape: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    padded: int
    places: Tensor
    windows: Tensor
    lines: Tensor
    reaching: Tensor
    spread: Tensor
    outputs: tuple[int, int]

    def reached(self, where: Tensor) -> Tensor:
        """Outputs whose kernel lies on one of the inputs."""
        if self.kernel == (1, 1) and self.stride == (1, 1) and self.padding == (0, 0):
            return where
        (n, h, w), (kh, kw), (oh, ow) = self.shape, self.kernel, self.outputs
        if self.stride != (1, 1):
            mask = torch.zeros(n * h * w, device=where.device).index_fill_(0, where, 1).view(n, 1, h, w)
            mask = F.pad(mask, (self.padding[1], self.padding[1], self.padding[0], self.padding[0]))
            return F.max_pool2d(mask, self.kernel, self.stride).flatten().nonzero().flatten()
        # Output (y, x) lies on inputs (y..y + kh - 1, x..x + kw - 1) of the padded map. In a mask with a margin of
        # kernels that begin beyond the border, the outputs of an input begin at its own place.
        height, width = oh + 2 * (kh - 1), ow + 2 * (kw - 1)
        mask = torch.zeros(n * height * width, dtype=torch.bool, device=where.device)
        mask.index_fill_(0, (self.reaching.index_select(0, where)[:, None] + self.spread).flatten(), True)
        outputs = mask.view(n, height, width)[:, kh - 1 : kh - 1 + oh, kw - 1 : kw - 1 + ow]
        return outputs.flatten().nonzero().flatten()


@lru_cache(maxsize=256)
def _grid(
    n: int,
    h: int,
    w: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    device: torch.device,
) -> _Grid:
    hp, wp = h + 2 * padding[0], w + 2 * padding[1]
    oh, ow = (hp - kernel[0]) // stride[0] + 1, (wp - kernel[1]) // stride[1] + 1
    flat = torch.arange(n * hp * wp, device=device).view(n, hp, wp)
    places = flat[:, padding[0] : padding[0] + h, padding[1] : padding[1] + w].flatten()
    windows = flat[:, : (oh - 1) * stride[0] + 1 : stride[0], : (ow - 1) * stride[1] + 1 : stride[1]].flatten()
    rows, columns = (torch.arange(k, device=device) for k in kernel)
    width = wp + kernel[1] - 1
    wide = torch.arange(n * (hp + kernel[0] - 1) * width, device=device).view(n, -1, width)
    reaching = wide[:, padding[0] : padding[0] + h, padding[1] : padding[1] + w].flatten()
    spread = (rows[:, None] * width + columns).flatten()
    return _Grid(
        (n, h, w), kernel, stride, padding, n * hp * wp, places, windows, rows * wp, reaching, spread, (oh, ow)
    )
