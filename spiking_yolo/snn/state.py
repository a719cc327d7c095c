"""The state of a layer of neurons, and the arguments of a step."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from spiking_yolo.snn.counting import Counts, count_digits
from spiking_yolo.snn.layout import empty

T = TypeVar("T")


def tensor(dtype: torch.dtype | None = None, optional: bool = False, per_position: int = 0) -> Any:
    """Declare a tensor of a state: one value per neuron, or `per_position` values per position.

    Args:
        dtype: None for that of the potentials.
        optional: Whether a layer may go without it.
        per_position: Values per position, [N, per_position, ...]; 0 for one per neuron.
    """
    kind = {"dtype": dtype, "per_position": per_position}
    if optional:
        return field(default=None, metadata=kind)
    return field(metadata=kind)


@dataclass(kw_only=True)
class State:
    """The tensors of one layer, one value per neuron: [N, C, ...], or rows of them (layout.py).

    Attributes:
        count: Spikes so far.
        events: Events so far in each of the Counts, summed over the channels, or by channel if a
            later node takes a slice of the channels. Without bursts the three are equal and it is
            left out.
        switches: With neuron.events=switches, the switches so far.
        previous: With neuron.events=switches, the output of the last step.
    """

    count: Tensor = tensor()
    events: Tensor | None = tensor(torch.float64, optional=True, per_position=3)
    switches: Tensor | None = tensor(optional=True)
    previous: Tensor | None = tensor(optional=True)

    def tally(self, spikes: Tensor) -> None:
        """Count the output of a step: bursts of n = `spikes` >= 0."""
        self.count.add_(spikes)
        if self.events is None:
            return
        counted = Counts(spikes, count_digits(spikes), spikes.clamp(max=1))
        if self.events.shape[1] == len(counted):
            counted = Counts.of(lambda n: n.sum(1, keepdim=True), counted)
        self.events.add_(torch.cat(counted, 1))

    def counts(self, by_channel: bool = False) -> Counts:
        """Events so far at each position, float64 [N, 1, ...], or [N, C, ...] by channel."""
        if self.events is not None:
            return Counts(*self.events.chunk(3, 1))
        alike = self.count
        if self.switches is not None:
            alike = self.switches
        if by_channel:
            return Counts.alike(alike.double())
        return Counts.alike(alike.sum(1, keepdim=True, dtype=torch.float64))

    @classmethod
    def allocate(
        cls,
        shape: torch.Size,
        like: Tensor,
        dtype: torch.dtype,
        without: Collection[str] = (),
        by_channel: bool = False,
    ) -> Self:
        """A state of zeros.

        Args:
            shape: [N, C, ...].
            like: A tensor on the device to use.
            dtype: Data type of the potentials.
            without: Fields that are left out.
            by_channel: Whether events are counted by channel.
        """
        tensors: dict[str, Tensor] = {}
        for declared in fields(cls):
            if declared.name in without:
                continue
            channels = declared.metadata["per_position"]
            if channels and by_channel:
                channels *= shape[1]
            size = torch.Size((shape[0], channels or shape[1], *shape[2:]))
            own = declared.metadata["dtype"] or dtype
            tensors[declared.name] = empty(size, like, own).zero_()
        return cls(**tensors)


@dataclass(kw_only=True)
class PotentialState(State):
    """The state of neurons with a membrane potential.

    Attributes:
        potential: In the units of the ANN, or in thresholds where the neuron says so.
    """

    potential: Tensor = tensor()


@dataclass(kw_only=True)
class Parameters:
    """The parameters of a step, in shapes that broadcast against the state.

    Attributes:
        theta: The threshold.
        initial: The initial potential, in thresholds.
        bias: Added to the current.
        cap: The largest activation, in thresholds.
    """

    theta: Tensor
    initial: Tensor
    bias: Tensor | None = None
    cap: Tensor | None = None


class Clock(NamedTuple):
    """When a step happens.

    Attributes:
        t: Steps before this one.
        spike_weight: The value of a spike in this step, in thetas.
        first: Whether t is 0.
    """

    t: int
    spike_weight: float
    first: bool


class Buffers(NamedTuple):
    """Preallocated tensors for the results of a step; None means allocate.

    An optimisation that can be ignored when reading. out: for the output; a to e:
    for intermediate results.
    """

    a: Tensor | None = None
    b: Tensor | None = None
    c: Tensor | None = None
    d: Tensor | None = None
    e: Tensor | None = None
    out: Tensor | None = None


def map_tree(f: Callable[[Any], Any], tree: T) -> T:
    """The same dataclass with f(leaf) for each leaf but None; once for leaves of one object."""
    return _mapped(f, tree, {})


def leaves(tree: Any) -> list[Any]:
    """Every leaf but None, once."""
    result: list[Any] = []
    map_tree(result.append, tree)
    return result


def _mapped(f: Callable[[Any], Any], tree: Any, known: dict[int, Any]) -> Any:
    if tree is None:
        return None
    if is_dataclass(tree) and not isinstance(tree, type):
        return type(tree)(
            **{field.name: _mapped(f, getattr(tree, field.name), known) for field in fields(tree)}
        )
    if id(tree) not in known:
        known[id(tree)] = f(tree)
    return known[id(tree)]
