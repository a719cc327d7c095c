"""A layer's step over its rows, block by block: a dozen tensors of a block stay in the processor's
cache.

Results do not depend on the blocks.
"""

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

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
            size, count = max(n, SIZE), len(Buffers._fields)
            self._flat = [
                torch.empty(size, dtype=block.dtype, device=block.device) for _ in range(count)
            ]
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

    def bind(self, state: Any, parameters: Any, out: Tensor, key: Hashable) -> Any:
        """Run on these tensors from now on, [N, C, ...] each; returns the parameters as the steps
        will see them.

        parameters: [], [C] or [C, H, W]. out: for what is sent, possibly of another dtype than the
        state. key: equal for equal shapes and dtypes.
        """
        whole = map_tree(rows, state)
        like = leaves(whole)[0]
        shared = map_tree(lambda value: spread(value, out.shape), parameters)
        self._blocks = [
            self._block(part, whole, shared, rows(out), like) for part in self._parts(like)
        ]
        return shared

    def _parts(self, like: Tensor) -> Iterable[slice]:
        return parts(len(like), like[0].numel())

    def _block(self, part: slice, state: Any, parameters: Any, out: Tensor, like: Tensor) -> Block:
        own = map_tree(
            lambda value: value[part] if value.shape == like.shape else value, parameters
        )
        buffers, target = self._scratch.like(like[part]), out[part]
        if out.dtype == like.dtype:
            buffers = buffers._replace(out=target)
        return Block(part, map_tree(lambda tensor: tensor[part], state), own, target, buffers)

    def __call__(
        self, emit: Emit, current: Tensor | None, clock: Clock, reports: bool = True
    ) -> list[Tensor]:
        """One step; returns the largest magnitude that each block sent, if it is wanted: in
        general, and now.
        """
        largest = []
        for block, z in self._with(current):
            sent = emit(block.state, block.parameters, z, clock, block.buffers)
            if sent is not block.out:  # of another dtype, to which it is rounded
                block.out.copy_(sent)
            if self._reports and reports:
                largest.append(torch.abs(sent, out=block.buffers.a).amax())
        return largest

    def each(
        self, f: Callable[[Any, Any, Tensor | None, Buffers], Any], current: Tensor | None = None
    ) -> list[Any]:
        """f(state, parameters, current, buffers) of every block."""
        return [
            f(block.state, block.parameters, z, block.buffers) for block, z in self._with(current)
        ]

    def _with(self, current: Tensor | None) -> Iterable[tuple[Block, Tensor | None]]:
        lines = None if current is None else rows(current)
        return ((block, None if lines is None else lines[block.part]) for block in self._blocks)


def parts(n: int, width: int) -> list[slice]:
    """n rows of `width` elements in slices of at most SIZE elements, or of one row."""
    step = max(1, SIZE // max(width, 1))
    return [slice(start, start + step) for start in range(0, n, step)]


# PyTorch's compiler patches modules while it traces: one thread at a time.
_COMPILER = threading.Lock()


class Fused:
    """A function of contiguous tensors, which may update them, compiled at the first call of each
    kind.

    The kinds differ in which arguments are None, in the dtypes of the others, and in PyTorch's
    number of threads, which is part of the code; shapes are those of the first call. What is
    updated must not share memory with another argument.
    """

    def __init__(self, function: Callable[..., Tensor | None]):
        self._function = function
        self._codes: dict[tuple[int, tuple[torch.dtype | None, ...]], Callable[..., Any]] = {}

    def __call__(self, *values: Tensor | None) -> Any:
        kind = tuple([None if value is None else value.dtype for value in values])
        tensors = [value for value in values if value is not None]
        code = self._codes.get((torch.get_num_threads(), kind))
        if code is None:
            with _COMPILER:
                code = self._codes[torch.get_num_threads(), kind] = self._compile(kind, tensors)
        result = code(*tensors)
        return result[0] if result else None

    def _compile(
        self, kind: Sequence[torch.dtype | None], tensors: list[Any]
    ) -> Callable[..., Any]:
        def function(*given: Tensor) -> tuple[Tensor, ...]:
            following = iter(given)
            result = self._function(*(None if dtype is None else next(following) for dtype in kind))
            return () if result is None else (result,)

        # This runs the function once, on copies.
        graph = make_fx(function)(*(tensor.clone() for tensor in tensors))
        code = torch.compile(graph, fullgraph=True, dynamic=False)
        # Compiles now, on copies too: torch.compile waits for the first call.
        code(*(tensor.clone() for tensor in tensors))
        return code


class CompiledStep(BlockedStep):
    """A layer's step as compiled code over all rows at once; the code stays when tensors of the
    same shapes are bound.

    The first step, steps in which spikes may be dropped, and those of later frames have code of
    their own.
    """

    def __init__(self, scratch: Scratch, reports: bool):
        super().__init__(scratch, reports)
        self._codes: dict[Hashable, Fused] = {}
        self._values: tuple[float, ...] = (0.0, 0.0, 0.0)

    def bind(self, state: Any, parameters: Any, out: Tensor, key: Hashable) -> Any:
        bound = super().bind(state, parameters, out, key)
        self._key = key
        (block,) = self._blocks
        self._tensors = _tensors(block)
        self._numbers = [
            torch.zeros((), dtype=torch.float64, device=out.device) for _ in self._values
        ]
        self._values = (0.0, 0.0, 0.0)
        return bound

    def _parts(self, like: Tensor) -> Iterable[slice]:
        return [slice(0, len(like))]

    def _block(self, part: slice, state: Any, parameters: Any, out: Tensor, like: Tensor) -> Block:
        return Block(part, state, parameters, out, Buffers())

    def __call__(
        self, emit: Emit, current: Tensor | None, clock: Clock, reports: bool = True
    ) -> list[Tensor]:
        values = (float(clock.t), float(clock.time), float(clock.spike_weight))
        for number, value, before in zip(self._numbers, values, self._values, strict=True):
            if value != before:
                number.fill_(value)
        self._values = values
        key = self._key, clock.first, clock.drops, clock.hysteresis
        if key not in self._codes:
            self._codes[key] = Fused(self._function(emit, clock))
        largest = self._codes[key](
            None if current is None else rows(current), *self._numbers, *self._tensors
        )
        return [largest] if self._reports else []

    def _function(self, emit: Emit, clock: Clock) -> Callable[..., Tensor | None]:
        """One step as a function of nothing but tensors: the current, the clock's numbers, and
        those of the block.
        """
        (block,) = self._blocks
        positions = {id(tensor): i for i, tensor in enumerate(self._tensors)}
        state, parameters = (
            map_tree(lambda tensor: positions[id(tensor)], tree) for tree in _trees(block)
        )

        def compute(
            z: Tensor | None, t: Tensor, time: Tensor, weight: Tensor, *tensors: Tensor
        ) -> Tensor | None:
            now = Clock(t, time, weight, clock.first, clock.drops, clock.hysteresis)
            s, p = (map_tree(lambda i: tensors[i], tree) for tree in (state, parameters))
            sent = emit(s, p, z, now, Buffers())
            tensors[-1].copy_(sent)
            return sent.abs().amax() if self._reports else None

        return compute


def _trees(block: Block) -> tuple[Any, Any]:
    return block.state, block.parameters


def _tensors(block: Block) -> list[Tensor]:
    """All tensors of a block, each once, what is sent last."""
    unique = {id(tensor): tensor for tree in _trees(block) for tensor in leaves(tree)}
    return [*unique.values(), block.out]
