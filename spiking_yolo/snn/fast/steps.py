"""A layer's step over its rows, block by block: a dozen tensors of a block stay in the processor's
cache.

Results do not depend on the blocks.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.snn.layout import rows, spread
from spiking_yolo.snn.state import Buffers, Clock, leaves, map_tree

# Elements of a block: a dozen float32 tensors of this size stay in a cache of 16 MB.
SIZE = 2**18

Emit = Callable[[Any, Any, Tensor | None, Clock, Buffers], Tensor]


class Scratch:
    """Buffers for what a block computes on the way; all blocks of all layers of a network use the
    same in turn.
    """

    def __init__(self) -> None:
        self._flat: list[Tensor] = []

    def like(self, block: Tensor) -> Buffers:
        """Buffers of the block's shape and dtype, which share their memory with those of other
        blocks.
        """
        n = block.numel()
        fits = self._flat and len(self._flat[0]) >= n and self._flat[0].dtype == block.dtype
        if not fits or self._flat[0].device != block.device:
            self._flat = [block.new_empty(max(n, SIZE)) for _ in Buffers._fields]
        return Buffers(*(flat[:n].view(block.shape) for flat in self._flat))


@dataclass(frozen=True)
class Block:
    """Some rows of a layer: its state, its parameters, and where what it sends goes in the end."""

    part: slice
    state: Any
    parameters: Any
    out: Tensor
    buffers: Buffers


class BlockedStep:
    """Applies a layer's pure step to its rows.

    The step, emit(state, parameters, current, clock, buffers), returns what the rows send. reports:
    whether the largest magnitude of that is wanted.
    """

    def __init__(self, scratch: Scratch, reports: bool):
        self._scratch, self._reports = scratch, reports

    def bind(self, state: Any, parameters: Any, out: Tensor) -> Any:
        """Run on these tensors from now on, [N, C, ...] each; returns the parameters as the steps
        will see them.

        parameters: [], [C] or [C, H, W]. out: for what is sent, of the state's dtype.
        """
        whole = map_tree(rows, state)
        like = leaves(whole)[0]
        shared = map_tree(lambda value: spread(value, out.shape), parameters)
        size = max(1, SIZE // max(like[0].numel(), 1))
        self._blocks: list[Block] = []
        for start in range(0, len(like), size):
            part = slice(start, start + size)

            def of_block(value: Tensor, part: slice = part) -> Tensor:
                return value[part]

            def parameter(value: Tensor, part: slice = part) -> Tensor:
                # Those of each position go with it, those of a channel with all.
                if value.shape == like.shape:
                    return value[part]
                return value

            own, target = map_tree(of_block, whole), rows(out)[part]
            buffers = self._scratch.like(like[part])._replace(out=target)
            self._blocks.append(Block(part, own, map_tree(parameter, shared), target, buffers))
        return shared

    def __call__(
        self, emit: Emit, current: Tensor | None, clock: Clock, reports: bool = True
    ) -> list[Tensor]:
        """One step; returns the largest magnitude that each block sent, if it is wanted: in
        general, and now.
        """
        largest = []
        for block, z in self._with(current):
            sent = emit(block.state, block.parameters, z, clock, block.buffers)
            if sent is not block.out:
                block.out.copy_(sent)
            if self._reports and reports:
                largest.append(torch.abs(sent, out=block.buffers.a).amax())
        return largest

    def each(
        self, f: Callable[[Any, Any, Tensor | None, Buffers], Any], current: Tensor | None = None
    ) -> None:
        """f(state, parameters, current, buffers) of every block."""
        for block, z in self._with(current):
            f(block.state, block.parameters, z, block.buffers)

    def _with(self, current: Tensor | None) -> Iterable[tuple[Block, Tensor | None]]:
        """Every block, with its part of the current."""
        if current is None:
            return [(block, None) for block in self._blocks]
        lines = rows(current)
        return [(block, lines[block.part]) for block in self._blocks]
