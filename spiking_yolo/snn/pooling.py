"""Max pooling of spikes, exact for any size, stride and padding, signed input too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..graph import max_pool, reached_padding
from .blocks import rows


def add_(total: Tensor, x: Tensor) -> None:
    """total += x."""
    total.add_(x)


def add_to_corners_(corners: Sequence[Tensor], windows: Tensor) -> Tensor:
    """Add what arrives in windows of 2 x 2 to the sum at each corner, and take the maxima: one pass when compiled.

    corners: four tensors [N * H', W', C]. windows: [N * H', 2, W', 2, C]. Returns [N * H', W', C].
    """
    for i, total in enumerate(corners):
        total.add_(windows[:, i // 2, :, i % 2])
    a, b, c, d = corners
    return torch.maximum(torch.maximum(a, b), torch.maximum(c, d))


def tiles(h: int, w: int, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil: bool) -> bool:
    """Whether windows of 2 x 2 lie side by side and cover the map exactly."""
    side_by_side = [*kernel, *stride] == [2, 2, 2, 2] and h % 2 == w % 2 == 0
    return side_by_side and not any(reached_padding(h, w, kernel, stride, padding, ceil))


class CumulativeMaxPool:
    """Sends the change of the maximum, over each window, of the input's running sum: the sum sent is the pooled sum.

    Pooling the spikes of single steps instead counts every spike of a window and gets *worse* with T.
    What is sent can be negative or more than one unit. `count` accumulates |sent| per output.
    summed: the pooled sum itself is handed on in every step, to neurons that work on sums; nothing is counted.
    """

    def __init__(self, attrs: Mapping[str, Any]):
        self.attrs, self._add, self._add_to_corners = attrs, add_, add_to_corners_
        self._compiled = False
        self._sums: list[Tensor] = []
        self.reset()

    def compile(self) -> None:
        """Let a compiler fuse the addition with the conversion of what arrives in bf16, and with pooling of 2 x 2."""
        self._add, self._add_to_corners = torch.compile(add_), torch.compile(add_to_corners_)
        self._compiled = True

    def reset(self, summed: bool = False) -> None:
        self._fresh, self.summed = True, summed

    def step(self, current: Tensor, quantum: float = 1.0) -> Tensor:
        """current: [N, C, H, W], what arrives in this timestep. Returns what is sent, [N, C, H', W'].

        quantum: value of one event, by which what is sent is counted.
        """
        pooled = self._pool(current)
        if self.summed:
            self._fresh = False
            return pooled
        if self._fresh:
            self.sent, self.count = torch.zeros_like(pooled), torch.zeros_like(pooled)
            self._fresh = False
        out = torch.sub(pooled, self.sent, out=self.sent)  # the old `sent` is not needed any more
        self.sent = pooled
        self.count.add_(out.abs(), alpha=1 / quantum)
        return out

    def _pool(self, current: Tensor) -> Tensor:
        """The maxima of the sum over time, with what arrives now."""
        n, c, h, w = current.shape
        dtype = torch.promote_types(current.dtype, torch.float32)  # the sum is exact where the current is rounded
        by_corners = self._compiled and tiles(h, w, **self.attrs)
        shape = (n * h // 2, w // 2, c) if by_corners else (n * h * w, c)
        if not self._sums or self._sums[0].shape != shape or self._sums[0].dtype != dtype:
            self._sums = [current.new_empty(shape, dtype=dtype) for _ in range(4 if by_corners else 1)]
            self._fresh = True
        if self._fresh:
            for total in self._sums:
                total.zero_()
        if by_corners:
            windows = rows(current).view(n * h // 2, 2, w // 2, 2, c)
            return self._add_to_corners(self._sums, windows).view(n, h // 2, w // 2, c).movedim(-1, 1)
        (total,) = self._sums
        self._add(total, rows(current))
        return max_pool(total.view(n, h, w, c).movedim(-1, 1), **self.attrs)
