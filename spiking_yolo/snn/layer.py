"""What the layers of spiking neurons have in common: parameters, counts, and when they may be skipped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.blocks import Scratch, blocks, empty, rows, spread
from spiking_yolo.snn.compiled import FusedStep


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
    first: whether the step that is computed is the first.
    time: how many activations a sum stands for, t in rate coding and 1 in differential coding.
    count: spikes so far per neuron. events: what its synapses received so far, the same unless events=switches.
    watched: a probe looks at the neurons, so everything that it may read is kept: thresholds, and what each neuron of
    a pair has sent and how often. Without a probe only what the network needs is there.
    summed: what is received is the sum of the input so far, not the input of a step.
    constant: what is received is the same in every step.
    out_dtype: of what is sent; None for that of the potential.
    """

    neurons_per_site = 1
    sign = 1  # of the current, -1 for an OFF neuron
    summed = constant = False
    out_dtype: torch.dtype | None = None
    follows_sums = False  # whether the sum of the input so far serves as well as the input of each step
    out: Tensor
    potential: Tensor
    _events: Tensor

    def __init__(self, params: Mapping[str, Tensor], recipe: Recipe, phi: Activation, name: str = ""):
        self.params, self.recipe, self.settings, self.name = params, recipe, recipe.neuron, name
        self.phi, self.slope = phi.continuous, phi.slope
        self.unit = params["theta"]
        self._is_rate = recipe.encoding.coding == "rate"
        self._switches = recipe.neuron.events == "switches"
        self._state: dict[str, Tensor] = {}
        self.scratch: Scratch | None = Scratch()  # a network gives all its layers the same one
        self._compiled = False
        self._fused: dict[tuple | None, FusedStep] = {}
        self._allocated: tuple | None = None

    def reset(self, keys: Sequence[int] = (), watched: bool = True) -> None:
        """Forget everything: the next step starts a new run, of any shape. keys: of the images, for randomness."""
        self._fresh = True
        self.settled = False
        self.first = True
        self.t, self.time, self.spike_weight = 0, 1, 1.0
        self.keys = keys
        self.watched = watched

    def compile(self) -> None:
        """Fuse the arithmetic of a step, at the first steps of each shape. Results differ by rounding."""
        self.scratch, self._allocated = None, None
        self._compiled = True

    def step(self, current: Tensor | None, spike_weight: float = 1.0) -> Tensor:
        """What is sent in this timestep in units, a tensor that the next step overwrites.

        current: what was received, None for nothing new; see `summed`. spike_weight: value of one spike in units, below 1
        when the coding has been refined.
        """
        self.spike_weight = spike_weight
        if self._fresh:
            if current is None:
                raise ValueError("the first step needs a current")
            self._begin(current)
        if self._is_rate:
            self.time = self.t + 1
        received = repeat(None) if current is None else self._split(rows(current))
        if self.summed:
            self._read_sums(received)
            received = repeat(None)
        advance = self._fused[self._allocated] if self._compiled else self._advance
        self._largest = [advance(block, z) for block, z in zip(self._blocks, received, strict=False)]
        self._finish()
        return self.out

    def silent(self) -> bool:
        """Whether nothing was sent in the last step. Only differential coding wants to know; in rate coding False."""
        return all(value is not None and value.item() == 0 for value in self._largest)

    def quiet(self) -> bool:
        """Whether nothing was sent, and nothing will be until something is received."""
        return self.silent()

    def rest(self) -> None:
        """A timestep of a settled layer that receives nothing: it sends nothing."""
        self.t += 1

    @property
    def members(self) -> tuple[Layer, ...]:
        """The layer and those that it consists of."""
        return (self,)

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
        allocated = current.shape, dtype, self.watched, self.summed
        if self._allocated != allocated:
            self._allocated = allocated
            self._allocate(current, dtype)
        for name, tensor in self._state.items():
            if name != "out":
                tensor.zero_()
        self._start()
        self._fresh = False

    def _allocate(self, current: Tensor, dtype: torch.dtype) -> None:
        for name in self._state:  # what is not kept this time shall not be read by mistake
            self.__dict__.pop(name, None)
        self._dtype, out_dtype = dtype, self.out_dtype or dtype
        self._state = {name: empty(current.shape, current, dtype) for name in self._names()}
        self._state["out"] = empty(current.shape, current, out_dtype)
        for name in set(self._state) - {"count"}:
            setattr(self, name, self._state[name])
        like = current.new_empty((0,) * current.ndim, dtype=dtype)
        self.theta, self.initial = (per_channel(self.params[name], like) for name in ("theta", "initial"))
        parameters = {name: spread(value.to(like), current.shape) for name, value in self._parameters().items()}
        self._blocks = blocks(self._state, {"bias": None, "cap": None, **parameters}, self.scratch, dtype)
        for b in self._blocks:  # what is sent is computed in `out`, and rounded at the end where it has another dtype
            b.rounded, b.out = (None, b.out) if out_dtype == dtype else (b.out, b.scratch[-1])
        for step in self._fused.values():
            step.release()
        if self._compiled and self._allocated not in self._fused:
            self._fused[self._allocated] = FusedStep(self._advance, self.members)

    def _names(self) -> tuple[str, ...]:
        """The tensors with one value per neuron, besides `out`."""
        potential = () if self.summed else ("potential",)
        return ("count", *potential, *(("_events", "_previous") if self._switches else ()))

    def _parameters(self) -> dict[str, Tensor]:
        """Tensors that a block needs besides the state: [], [C] or [C, H, W]."""
        found = {name: self.params[name] for name in ("theta", "initial", "bias") if name in self.params}
        if self.phi.cap is not None:
            found["cap"] = self.phi.cap / self.params["theta"].to(self._dtype)
        return found

    def _split(self, lines: Tensor) -> Any:
        return (lines[block.part] for block in self._blocks)

    def _biased(self, b: SimpleNamespace, z: Any) -> Any:
        """The current of a block with the calibrated bias, which differential coding adds once."""
        return z if z is None or b.bias is None or not (self.first or self._is_rate) else z + b.bias

    def _ceiling(self, b: SimpleNamespace) -> Tensor | None:
        """Of a block, in the step that is being computed."""
        return None if b.cap is None else b.cap * self.time

    def _advance(self, b: SimpleNamespace, z: Tensor | None) -> Tensor | None:
        """One step of a block of neurons. In differential coding it returns the largest value that was sent."""
        out = self._emit(b, z)
        if b.rounded is not None:
            b.rounded.copy_(out)
        return None if self._is_rate else torch.abs(out, out=b.scratch[0]).amax()

    def _emit(self, b: SimpleNamespace, z: Tensor | None) -> Tensor:
        """What a block of neurons sends in one step, in the dtype of the potential; a pair calls it of its members."""
        out = self._fire(b, self._biased(b, None if z is None else z.to(b.count.dtype)))
        if self._switches:
            b._events.add_((out - b._previous).abs_().div_(self.spike_weight))
            b._previous.copy_(out)
        return out

    def _finish(self) -> None:
        self.t += 1
        self.first = False

    def _read_sums(self, sums: Iterable[Tensor | None]) -> None:
        """Let each block read the sum of its input where it lies."""
        for block, total in zip(self._blocks, sums, strict=False):
            if total is not None:
                block.potential = total

    def _start(self) -> None:
        self.potential.copy_(self.initial * self.theta)

    def _fire(self, b: SimpleNamespace, z: Any) -> Tensor:
        """What a block sends, in units, written to b.out where there is one; its spikes are added to b.count."""
        raise TypeError(f"{type(self).__name__} does not fire")
