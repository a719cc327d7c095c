"""Max pooling of spikes, exact for any size, stride and padding, signed input too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..graph import max_pool
from .blocks import empty, rows


def add_(total: Tensor, x: Tensor) -> None:
    """total += x."""
    total.add_(x)


class CumulativeMaxPool:
    """Sends the change of the maximum, over each window, of the input's running sum: the sum sent is the pooled sum.

    Pooling the spikes of single steps instead counts every spike of a window and gets *worse* with T.
    What is sent can be negative or more than one unit. `count` accumulates |sent| per output.
    summed: the pooled sum itself is handed on in every step, to neurons that work on sums; nothing is counted.
    """

    def __init__(self, attrs: Mapping[str, Any]):
        self.attrs, self._add = attrs, add_
        self.total: Tensor | None = None
        self.reset()

    def compile(self) -> None:
        """Let a compiler fuse the addition with the conversion of what arrives in bf16."""
        self._add = torch.compile(add_)

    def reset(self, summed: bool = False) -> None:
        self._fresh, self.summed = True, summed

    def step(self, current: Tensor, quantum: float = 1.0) -> Tensor:
        """current: [N, C, H, W], what arrives in this timestep. Returns what is sent, [N, C, H', W'].

        quantum: value of one event, by which what is sent is counted.
        """
        dtype = torch.promote_types(current.dtype, torch.float32)  # the sum is exact where the current is rounded
        if self.total is None or self.total.shape != current.shape or self.total.dtype != dtype:
            self.total, self._fresh = empty(current.shape, current, dtype), True
        if self._fresh:
            self.total.zero_()
        self._add(rows(self.total), rows(current))
        pooled = self._pool(self.total)
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

    def _pool(self, x: Tensor) -> Tensor:
        a = self.attrs
        return max_pool(x, a["kernel"], a["stride"], a["padding"], a["ceil"])
