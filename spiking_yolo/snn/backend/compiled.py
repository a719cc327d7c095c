"""Pure functions of tensors as compiled code, called without checking whether anything else has changed.

torch.compile checks all that a function may read before each call. In a timestep, which has a dozen calls with little
arithmetic in each, that takes longer than the arithmetic of the smaller layers. Here everything that changes from one
call to the next is an argument.
"""

import logging
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.snn.backend.blocks import Block, BlockedStep, Emit, Scratch
from spiking_yolo.snn.backend.layout import rows
from spiking_yolo.snn.backend.tree import leaves, map_tree
from spiking_yolo.snn.state import Buffers, Clock

_COMPILER = threading.Lock()  # PyTorch's compiler patches modules while it traces: one thread at a time


class Fused:
    """A function of contiguous tensors, which may update them, compiled at the first call of each kind.

    The kinds differ in which arguments are None, in the dtypes of the others, and in PyTorch's number of threads, which
    is part of the code; shapes are those of the first call. What is updated must not share memory with another
    argument.
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

    def _compile(self, kind: Sequence[torch.dtype | None], tensors: list[Any]) -> Callable[..., Any]:
        from torch._inductor import standalone_compile  # takes a second to import
        from torch.fx.experimental.proxy_tensor import make_fx

        def function(*given: Tensor) -> tuple[Tensor, ...]:
            following = iter(given)
            result = self._function(*(None if dtype is None else next(following) for dtype in kind))
            return () if result is None else (result,)

        graph = make_fx(function)(*(tensor.clone() for tensor in tensors))  # runs the function
        # Graphs from inductor's cache keep numbers of the layer or process that made them (pytorch#194976).
        options = {"config_patches": {"fx_graph_cache": False, "size_asserts": False}}
        with _without_warnings("torch._inductor.standalone_compile"):  # that code outside of a cache cannot be saved
            return standalone_compile(graph, tensors, options=options)


class CompiledStep(BlockedStep):
    """A layer's step as compiled code over all rows at once; the code stays when tensors of the same shapes are bound.

    The first step, steps in which spikes may be dropped, and those of later frames have code of their own.
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
        self._numbers = [torch.zeros((), dtype=torch.float64, device=out.device) for _ in self._values]
        self._values = (0.0, 0.0, 0.0)
        return bound

    def _parts(self, like: Tensor) -> Iterable[slice]:
        return [slice(0, len(like))]

    def _block(self, part: slice, state: Any, parameters: Any, out: Tensor, like: Tensor) -> Block:
        return Block(part, state, parameters, out, Buffers())

    def __call__(self, emit: Emit, current: Tensor | None, clock: Clock, reports: bool = True) -> list[Tensor]:
        values = (float(clock.t), float(clock.time), float(clock.spike_weight))
        for number, value, before in zip(self._numbers, values, self._values, strict=True):
            if value != before:
                number.fill_(value)
        self._values = values
        key = self._key, clock.first, clock.drops, clock.reluctant
        if key not in self._codes:
            self._codes[key] = Fused(self._function(emit, clock))
        largest = self._codes[key](None if current is None else rows(current), *self._numbers, *self._tensors)
        return [largest] if self._reports else []

    def _function(self, emit: Emit, clock: Clock) -> Callable[..., Tensor | None]:
        """One step as a function of nothing but tensors: the current, the clock's numbers, and those of the block."""
        (block,) = self._blocks
        positions = {id(tensor): i for i, tensor in enumerate(self._tensors)}
        state, parameters = (map_tree(lambda tensor: positions[id(tensor)], tree) for tree in _trees(block))

        def compute(z: Tensor | None, t: Tensor, time: Tensor, weight: Tensor, *tensors: Tensor) -> Tensor | None:
            now = Clock(t, time, weight, clock.first, clock.drops, clock.reluctant)
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


@contextmanager
def _without_warnings(name: str) -> Iterator[None]:
    """Of the logger with this name."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
