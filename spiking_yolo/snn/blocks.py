"""A layer's tensors as rows, one per position, in blocks that fit the processor's cache.

In memory the channels come last: there a tensor [N, C, H, W] is [N * H * W, C], and what a layer of neurons
computes, which is elementwise, goes through it block by block. Results do not depend on the blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace

import torch
from torch import Tensor

SIZE = 2**18  # elements of a block: a dozen tensors of this size stay in a cache of 16 MB


def channels_last(x: Tensor) -> Tensor:
    """The same tensor with its channels last in memory; only maps, [N, C, H, W], are touched."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def empty(shape: torch.Size, like: Tensor, dtype: torch.dtype) -> Tensor:
    """Uninitialised [N, C, ...] with the channels last in memory, on the device of `like`."""
    return torch.empty((shape[0], *shape[2:], shape[1]), dtype=dtype, device=like.device).movedim(-1, 1)


def rows(x: Tensor) -> Tensor:
    """[N, C, H, W] as [N * H * W, C], and [N, C] as it is: a view where channels come last in memory, else a copy."""
    x = x.movedim(1, -1).contiguous()
    return x.flatten(0, -2) if x.ndim > 2 else x


def spread(values: Tensor, shape: torch.Size) -> Tensor:
    """A parameter, [] or [C] or [C, H, W], in a shape that broadcasts against the rows of a tensor [N, C, H, W].

    One value for all channels is kept as one.
    """
    if values.ndim > 1:
        return rows(values.expand(shape[0], *values.shape))
    return values[:1] if values.ndim and bool((values == values[0]).all()) else values


class Scratch:
    """Buffers for what a block computes on the way; all blocks of all layers of a network use the same in turn.

    The last is for what is sent, the one before for MSAT's ratio, 3 and 4 for what the members of a pair send; a step
    may use the others as it likes.
    """

    COUNT = 7

    def __init__(self) -> None:
        self._flat: list[Tensor] = []

    def like(self, block: Tensor, dtype: torch.dtype) -> list[Tensor]:
        """COUNT tensors of the block's shape, which share their memory with those of other blocks."""
        n = block.numel()
        fits = self._flat and len(self._flat[0]) >= n and self._flat[0].dtype == dtype
        if not fits or self._flat[0].device != block.device:
            self._flat = [torch.empty(max(n, SIZE), dtype=dtype, device=block.device) for _ in range(self.COUNT)]
        return [flat[:n].view(block.shape) for flat in self._flat]


def blocks(
    state: Mapping[str, Tensor], parameters: Mapping[str, Tensor | None], scratch: Scratch | None, dtype: torch.dtype
) -> list[SimpleNamespace]:
    """One namespace per block, with the block's part of every tensor as an attribute, and `scratch`.

    state: tensors of one shape [N, C, ...], channels last. parameters: as `spread` gives them. scratch: None for
    compiled code, which needs no room to work in and takes everything as one block; operations get out=None then.
    dtype: of the scratch.
    """
    lines = {name: rows(tensor) for name, tensor in state.items()}
    whole = next(iter(lines.values()))
    lines |= {k: v for k, v in parameters.items() if v is not None and v.shape == whole.shape}
    shared = {name: value for name, value in parameters.items() if name not in lines}
    everything = [slice(0, len(whole))]
    return [
        SimpleNamespace(
            **{name: line[part] for name, line in lines.items()},
            **shared,
            part=part,
            scratch=[None] * Scratch.COUNT if scratch is None else scratch.like(whole[part], dtype),
        )
        for part in (everything if scratch is None else parts(len(whole), whole[0].numel()))
    ]


def parts(n: int, width: int) -> Iterable[slice]:
    """n rows of `width` elements in slices of at most SIZE elements, or of one row."""
    step = max(1, SIZE // max(width, 1))
    return [slice(start, start + step) for start in range(0, n, step)]
