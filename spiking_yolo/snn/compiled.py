"""Arithmetic on tensors as compiled code, called without looking whether anything else has changed.

torch.compile looks at all that a function may read before each of its calls. In a timestep, which has a dozen of them
and little arithmetic in each, that takes longer than the arithmetic of the smaller layers. Here everything that changes
from one call to the next is an argument.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

Place = tuple[dict[str, Any], str]  # where a value is kept: the attributes of an object, and a name


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
            code = self._codes[torch.get_num_threads(), kind] = self._compile(kind, tensors)
        found = code(*tensors)
        return found[0] if found else None

    def _compile(self, kind: Sequence[torch.dtype | None], tensors: list[Any]) -> Callable[..., Any]:
        from torch._inductor import standalone_compile  # takes a second to import
        from torch.fx.experimental.proxy_tensor import make_fx

        def function(*given: Tensor) -> tuple[Tensor, ...]:
            following = iter(given)
            found = self._function(*(None if dtype is None else next(following) for dtype in kind))
            return () if found is None else (found,)

        graph = make_fx(function)(*(tensor.clone() for tensor in tensors))  # runs the function
        # Graphs from inductor's cache keep numbers of the layer or process that made them (pytorch#194976).
        options = {"config_patches": {"fx_graph_cache": False, "size_asserts": False}}
        with _without_warnings("torch._inductor.standalone_compile"):  # that code outside of a cache cannot be saved
            return standalone_compile(graph, tensors, options=options)


class FusedStep:
    """A step of a block of neurons as compiled code, the first step apart from the others.

    advance(block, received) computes it. layers: the layer and those that it consists of, whose numbers it reads.
    The code stays when a layer is allocated anew, in the same shape, and the block is another.
    """

    NUMBERS = ("t", "time", "spike_weight")  # attributes of a layer that change from step to step and are no tensors

    def __init__(self, advance: Callable[[SimpleNamespace, Any], Any], layers: Sequence[Any]):
        self._advance, self._layers = advance, layers
        self.release()
        self._values = [0.0] * len(self.NUMBERS)
        self._numbers = [torch.zeros((), dtype=torch.float64, device=layers[0].theta.device) for _ in self.NUMBERS]
        self._first, self._later = Fused(self._compute), Fused(self._compute)

    def release(self) -> None:
        """Let go of the block."""
        self._block: SimpleNamespace | None = None
        self._places: list[list[Place]] = []

    def __call__(self, block: SimpleNamespace, received: Tensor | None) -> Tensor | None:
        layer, block.received = self._layers[0], received
        if block is not self._block:
            self._block, self._places = block, _arguments(block)
        values = [getattr(layer, name) for name in self.NUMBERS]
        for number, value, before in zip(self._numbers, values, self._values, strict=True):
            if value != before:
                number.fill_(value)
        self._values = values
        code = self._first if layer.first else self._later
        largest = code(*[space[name] for (space, name), *_ in self._places], *self._numbers)
        block.received = None  # what was received need not stay in memory
        return largest

    def _compute(self, *values: Tensor | None) -> Tensor | None:
        """`advance`, which finds these values where it looks for them."""
        numbers: list[list[Place]] = [[(vars(layer), name) for layer in self._layers] for name in self.NUMBERS]
        with _assigned([*self._places, *numbers], values):
            assert self._block is not None
            return self._advance(self._block, self._block.received)


def _arguments(block: SimpleNamespace) -> list[list[Place]]:
    """Where the tensors of a block are kept; one that has two names is one argument."""
    found: dict[Any, list[Place]] = {}
    for space, name in _places(block):
        key = (id(space), name) if space[name] is None else id(space[name])
        found.setdefault(key, []).append((space, name))
    return list(found.values())


def _places(block: SimpleNamespace) -> Iterator[Place]:
    """Of the tensors of a block, and of the blocks in it."""
    for name, value in vars(block).items():
        if isinstance(value, SimpleNamespace):
            yield from _places(value)
        elif value is None or isinstance(value, Tensor):
            yield vars(block), name


@contextmanager
def _assigned(places: Sequence[Sequence[Place]], values: Sequence[Any]) -> Iterator[None]:
    """Each value at all of its places, and afterwards what was there before."""
    flat = [(space, name, value) for same, value in zip(places, values, strict=True) for space, name in same]
    before = [space[name] for space, name, _ in flat]
    try:
        for space, name, value in flat:
            space[name] = value
        yield
    finally:
        for (space, name, _), value in zip(flat, before, strict=True):
            space[name] = value


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
