"""What a layer of neurons remembers from step to step, and what a step is told."""

from collections.abc import Collection
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from spiking_yolo.snn.backend.layout import empty
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.digits import count_digits


def tensor(dtype: torch.dtype | None = None, optional: bool = False) -> Any:
    """A field of a state: one value per neuron. dtype: that of the potentials if None. optional: may be left out."""
    return field(default=None if optional else MISSING, metadata={"dtype": dtype})  # type: ignore[call-overload]


@dataclass(kw_only=True)
class State:
    """The tensors of one layer, one value per neuron: [N, C, ...], or rows of them (see backend/layout.py).

    count, digits, messages: events so far, see Counts; without bursts the count alone, for all three are the same. With
    neuron.events=switches also `switches`, the switches so far, and `previous`, what was sent in the step before.
    """

    count: Tensor = tensor()
    digits: Tensor | None = tensor(optional=True)
    messages: Tensor | None = tensor(optional=True)
    switches: Tensor | None = tensor(optional=True)
    previous: Tensor | None = tensor(optional=True)

    def tally(self, spikes: Tensor) -> None:
        """Count what the neurons send in a step: a burst of n = `spikes` each, n >= 0."""
        self.count.add_(spikes)
        if self.digits is not None and self.messages is not None:
            self.digits.add_(count_digits(spikes))
            self.messages.add_(spikes != 0)

    @property
    def counts(self) -> Counts:
        """Events so far, as the synapses receive them."""
        if self.switches is not None:
            return Counts.alike(self.switches)
        if self.digits is None or self.messages is None:
            return Counts.alike(self.count)
        return Counts(self.count, self.digits, self.messages)

    @classmethod
    def allocate(cls, shape: torch.Size, like: Tensor, dtype: torch.dtype, without: Collection[str] = ()) -> Self:
        """Zeros in every field but those of `without`. shape: [N, C, ...]; on the device of `like`."""
        names = [(f.name, f.metadata["dtype"] or dtype) for f in fields(cls) if f.name not in without]
        return cls(**{name: empty(shape, like, kind).zero_() for name, kind in names})


@dataclass(kw_only=True)
class PotentialState(State):
    """State of neurons with a membrane potential, in the units of the ANN (in thresholds where the neuron says so)."""

    potential: Tensor = tensor()


@dataclass(kw_only=True)
class Parameters:
    """What a step needs besides the state, in shapes that broadcast against it.

    theta: the threshold. initial: the potential at the start, in thresholds. bias: added to the current. cap: the
    largest activation, in thresholds. rest: what a neuron hands on without an event, in thresholds.
    """

    theta: Tensor
    initial: Tensor
    bias: Tensor | None = None
    cap: Tensor | None = None
    rest: Tensor | None = None


class Clock(NamedTuple):
    """When a step happens.

    t: steps before it. time: how many activations the sum of the input stands for: t + 1 in rate coding, 1 in
    differential coding. spike_weight: what a spike of this step is worth, in thetas. These three are numbers, or
    tensors in compiled code. first: whether t is 0. drops: whether spike confidence may drop spikes in this step.
    """

    t: Any
    time: Any
    spike_weight: Any
    first: bool
    drops: bool = False


class Buffers(NamedTuple):
    """Tensors that a step may write its results to instead of allocating them; None means allocate.

    They exist for speed alone, and a reader may think them away. out: for what is sent. ratio: for MSAT's threshold.
    a to e: for anything.
    """

    a: Tensor | None = None
    b: Tensor | None = None
    c: Tensor | None = None
    d: Tensor | None = None
    e: Tensor | None = None
    ratio: Tensor | None = None
    out: Tensor | None = None
