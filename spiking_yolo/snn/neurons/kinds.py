"""The kinds of neurons by name: neuron.kind asks for one of them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from spiking_yolo.recipe import allow_choices
from spiking_yolo.snn.neurons.layer import NeuronLayer

Builder = Callable[..., NeuronLayer]


@dataclass(frozen=True)
class Kind:
    """build: makes a layer from the arguments of NeuronLayer. follows: what it can follow besides
    ReLU, of "slope" (leaky ReLU), "cap" and "silu".
    """

    build: Builder
    follows: frozenset[str]


# neuron.kind -> what makes a layer of it.
KINDS: dict[str, Kind] = {}


def register(kind: str, follows: Collection[str] = ()) -> Callable[[Builder], Builder]:
    """Decorator: neuron.kind=KIND asks for this class, or function; see Kind. Networks with more
    are refused.

    Raises ValueError where another class has the name. The same one again, as from a notebook's
    cell, takes its place.
    """

    def add(builder: Builder) -> Builder:
        if kind in KINDS and _origin(KINDS[kind].build) != _origin(builder):
            raise ValueError(
                f"neuron.kind={kind} is taken by {'.'.join(_origin(KINDS[kind].build))}: choose"
                " another name"
            )
        KINDS[kind] = Kind(builder, frozenset(follows))
        allow_choices("neuron.kind", [kind])
        return builder

    return add


def _origin(builder: Builder) -> tuple[str, str]:
    return builder.__module__, builder.__qualname__
