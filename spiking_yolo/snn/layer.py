"""What the layers of spiking neurons have in common: parameters, counts, and when they may be skipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..graph import Activation
from ..recipe import Recipe
from .blocks import Scratch, blocks, empty, rows, spread


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """[C], [C, 1, 1] or [C, H, W] values in a shape that broadcasts against a state of `like`'s shape."""
    values = values.to(like)
    return values.reshape(values.shape + (1,) * (like.ndim - 1 - values.ndim))


class Layer:
    """State shared by all neuron kinds. Subclasses define `_start` and `_fire`.

    params: theta [C], the value of a spike; initial, the potential at the start in thresholds (scalar, [C] or
    [C, H, W]); and, where calibrated, bias [C], added to the current, and confidence, a scalar.
    phi: the activation that the neurons follow. Its cap bounds the sum of what is sent by `ceiling`, in thresholds:
    cap * t in rate coding, where a sum stands for t times an activation, and cap in differential coding.
    time: how many activations a sum stands for, t in rate coding and 1 in differential coding.
    count: spikes so far per neuron. events: what its synapses received so far, the same unless events=switches.
    watched: a probe looks at the neurons, so everything that it may read is kept: thresholds, and what each neuron of
    a pair has sent and how often. Without a probe only what the network needs is there.
    """

    neurons_per_site = 1
    sign = 1  # of the current, -1 for an OFF neuron
    out: Tensor
    potential: Tensor
    _events: Tensor

    def __init__(self, params: Mapping[str, Tensor], recipe: Recipe, phi: Activation, name: str = ""):
        self.params, self.recipe, self.settings, self.name = params, recipe, recipe.neuron, name
        self.phi, self.slope = phi.continuous, phi.slope
        self.unit = params["theta"]
        self._is_rate = recipe.encoding.coding == "rate"
        self._switches = recipe.neuron.events == "switches"
        self.scratch: Scratch | None = Scratch()  # a network gives all its layers the same one
        self._shape: torch.Size | None = None

    def reset(self, keys: Sequence[int] = (), watched: bool = True) -> None:
        """Forget everything: the next step starts a new run, of any shape. keys: of the images, for randomness."""
        self._fresh = True
        self.settled = False
        self.quantum = 1.0
        self.keys = keys
        self.watched = watched
        self.t = 0

    def compile(self) -> None:
        """Fuse the arithmetic of a step with torch.compile, at the first steps. Results differ by rounding."""
        torch._dynamo.config.recompile_limit = 128  # layers of all shapes and kinds share this method, and few variants
        self.scratch = None
        # Graphs from inductor's cache keep the numbers of the layer or process that made them (pytorch#194976).
        self._advance = torch.compile(self._advance, dynamic=True, options={"fx_graph_cache": False})

    def step(self, current: Tensor | None, quantum: float = 1.0) -> Tensor:
        """What is sent in this timestep in units, a tensor that the next step overwrites.

        current: what was received, None for nothing. quantum: value of one spike in units, below 1 when the coding has
        been refined.
        """
        self.quantum = quantum
        if self._fresh:
            if current is None:
                raise ValueError("the first step needs a current")
            self._begin(current)
        self.time = self.t + 1 if self._is_rate else 1
        received = repeat(None) if current is None else self._split(rows(current))
        for block, z in zip(self._blocks, received, strict=False):
            self._advance(block, z)
        self._finish()
        return self.out

    def silent(self) -> bool:
        """Whether nothing was sent in the last step."""
        low, high = torch.aminmax(rows(self.out))  # in the order of memory
        return not bool((low != 0) | (high != 0))

    def quiet(self) -> bool:
        """Whether nothing was sent, and nothing will be until something is received."""
        return self.silent()

    def rest(self) -> None:
        """A timestep of a settled layer that receives nothing: it sends nothing."""
        self.t += 1

    @property
    def count(self) -> Tensor:
        return self._state["count"]

    @property
    def events(self) -> Tensor:
        return self._events if self._switches else self.count

    @property
    def ceiling(self) -> Tensor | None:
        """The largest sum that the cap allowed in the last step, in thresholds; None without a cap."""
        return None if self.phi.cap is None else self.phi.cap / self.theta * self.time

    def _begin(self, current: Tensor) -> None:
        dtype = torch.promote_types(current.dtype, torch.float32)
        if self._shape != current.shape or self.out.dtype != dtype:
            self._shape = current.shape
            self._allocate(current, dtype)
        for name, tensor in self._state.items():
            if name != "out":
                tensor.zero_()
        self._start()
        self._fresh = False

    def _allocate(self, current: Tensor, dtype: torch.dtype) -> None:
        self._state = {name: empty(current.shape, current, dtype) for name in self._names()}
        for name in set(self._state) - {"count"}:
            setattr(self, name, self._state[name])
        self.theta = per_channel(self.params["theta"], self.out)
        self.initial = per_channel(self.params["initial"], self.out)
        parameters = {name: spread(value.to(self.out), current.shape) for name, value in self._parameters().items()}
        self._blocks = blocks(self._state, {"bias": None, "cap": None, **parameters}, self.scratch)

    def _names(self) -> tuple[str, ...]:
        """The tensors with one value per neuron."""
        return ("out", "count", "potential", *(("_events", "_previous") if self._switches else ()))

    def _parameters(self) -> dict[str, Tensor]:
        """Tensors that a block needs besides the state: [], [C] or [C, H, W]."""
        found = {name: self.params[name] for name in ("theta", "initial", "bias") if name in self.params}
        if self.phi.cap is not None:
            found["cap"] = self.phi.cap / self.params["theta"].to(self.out)
        return found

    def _split(self, lines: Tensor) -> Any:
        return (lines[block.part].to(self.out.dtype) for block in self._blocks)

    def _biased(self, b: SimpleNamespace, z: Any) -> Any:
        """The current of a block with the calibrated bias, which differential coding adds once."""
        return z if z is None or b.bias is None or (self.t and not self._is_rate) else z + b.bias

    def _ceiling(self, b: SimpleNamespace) -> Tensor | None:
        """Of a block, in the step that is being computed."""
        return None if b.cap is None else b.cap * self.time

    def _advance(self, b: SimpleNamespace, z: Tensor | None) -> Tensor:
        """One step of a block of neurons; returns what it sends."""
        out = self._fire(b, self._biased(b, z))
        if self._switches:
            b._events.add_((out - b._previous).abs_(), alpha=1 / self.quantum)
            b._previous.copy_(out)
        return out

    def _finish(self) -> None:
        self.t += 1

    def _start(self) -> None:
        self.potential.copy_(self.initial * self.theta)

    def _fire(self, b: SimpleNamespace, z: Any) -> Tensor:
        """What a block sends, in units, written to b.out where there is one; its spikes are added to b.count."""
        raise TypeError(f"{type(self).__name__} does not fire")
