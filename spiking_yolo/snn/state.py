"""What a layer of neurons remembers from step to step, and what a step is told."""

from collections.abc import Callable, Collection
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from spiking_yolo.snn.counting import Counts, count_digits
from spiking_yolo.snn.layout import empty

T = TypeVar("T")


def tensor(dtype: torch.dtype | None = None, optional: bool = False, per_position: int = 0) -> Any:
    """A field of a state: one value per neuron, or so many per position, [N, per_position, ...].

    dtype: that of the potentials if None. optional: may be left out.
    """
    kind = {"dtype": dtype, "per_position": per_position}
    return field(default=None if optional else MISSING, metadata=kind)  # type: ignore[call-overload]


@dataclass(kw_only=True)
class State:
    """The tensors of one layer, one value per neuron: [N, C, ...], or rows of them (see
    layout.py).

    count: spikes so far. events: those in each of the Counts, of all channels together, or of each
    where a slice of channels is taken of what is sent; without bursts it is left out, for all three
    are the same. With neuron.events=switches also `switches`, the switches so far, and `previous`,
    what was sent in the step before.
    """

    count: Tensor = tensor()
    events: Tensor | None = tensor(torch.float64, optional=True, per_position=3)
    switches: Tensor | None = tensor(optional=True)
    previous: Tensor | None = tensor(optional=True)

    def tally(self, spikes: Tensor, digits: Callable[[Tensor], Tensor] = count_digits) -> None:
        """Count what the neurons send in a step: a burst of n = `spikes` each, n >= 0, or as
        digits(n) digits.
        """
        self.count.add_(spikes)
        if self.events is not None:
            counted = Counts(spikes, digits(spikes), spikes.clamp(max=1))
            together = self.events.shape[1] == len(counted)
            self.events.add_(
                torch.cat([n.sum(1, keepdim=True) for n in counted] if together else counted, 1)
            )

    def counts(self, by_channel: bool = False) -> Counts:
        """Events so far at each position as the synapses receive them, of all channels or of each:
        float64 [N, 1, ...] or [N, C, ...].
        """
        if self.events is not None:
            return Counts(*self.events.chunk(3, 1))
        alike = self.count if self.switches is None else self.switches
        return Counts.alike(
            alike.double() if by_channel else alike.sum(1, keepdim=True, dtype=torch.float64)
        )

    @classmethod
    def allocate(
        cls,
        shape: torch.Size,
        like: Tensor,
        dtype: torch.dtype,
        without: Collection[str] = (),
        by_channel: bool = False,
    ) -> Self:
        """Zeros in every field but those of `without`. shape: [N, C, ...]; on the device of `like`.

        by_channel: events are counted for each channel.
        """
        kept = {f.name: f.metadata for f in fields(cls) if f.name not in without}
        channels = shape[1] if by_channel else 1
        shapes = {
            name: torch.Size((shape[0], channels * kind["per_position"] or shape[1], *shape[2:]))
            for name, kind in kept.items()
        }
        return cls(
            **{
                name: empty(shapes[name], like, kind["dtype"] or dtype).zero_()
                for name, kind in kept.items()
            }
        )


@dataclass(kw_only=True)
class PotentialState(State):
    """State of neurons with a membrane potential, in the units of the ANN (in thresholds where the
    neuron says so).
    """

    potential: Tensor = tensor()


@dataclass(kw_only=True)
class Parameters:
    """What a step needs besides the state, in shapes that broadcast against it.

    theta: the threshold. initial: the potential at the start, in thresholds. bias: added to the
    current. cap: the largest activation, in thresholds. rest: what a neuron hands on without an
    event, in thresholds.
    """

    theta: Tensor
    initial: Tensor
    bias: Tensor | None = None
    cap: Tensor | None = None
    rest: Tensor | None = None


class Clock(NamedTuple):
    """When a step happens.

    t: steps before it. time: how many activations the sum of the input stands for: t + 1 in rate
    coding, 1 in differential coding. spike_weight: what a spike of this step is worth, in thetas.
    These three are numbers, or tensors in compiled code. first: whether t is 0. drops: whether
    spike confidence may drop spikes in this step. reluctant: whether only a neuron to which more
    than its hysteresis is due may fire.
    """

    t: Any
    time: Any
    spike_weight: Any
    first: bool
    drops: bool = False
    reluctant: bool = False


class Buffers(NamedTuple):
    """Tensors that a step may write its results to instead of allocating them; None means allocate.

    They exist for speed alone, and a reader may think them away. out: for what is sent. ratio: for
    MSAT's threshold. a to e: for anything.
    """

    a: Tensor | None = None
    b: Tensor | None = None
    c: Tensor | None = None
    d: Tensor | None = None
    e: Tensor | None = None
    ratio: Tensor | None = None
    out: Tensor | None = None


def put(tree: Any, where: Tensor, part: Any) -> None:
    """Write the rows of `part` back into the dataclass of tensors [n, C] that they were
    taken from.
    """
    for name, value in vars(tree).items():
        if value is not None:
            value.index_copy_(0, where, getattr(part, name))


def map_tree(f: Callable[[Any], Any], tree: T) -> T:
    """The same dataclass with f(leaf) for every leaf but None; f is called once for what is one
    object.
    """
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
