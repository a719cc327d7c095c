"""The base class of the options of commands, and converters that read their values.

Options are frozen dataclasses that cyclopts turns into a command line. The docstring under a field
is its help, and beside its type stands what cyclopts has to know, such as its range:

    T: Annotated[int | None, at_least(1)] = None
    "Timesteps."

Modules with options do without `from __future__ import annotations`: cyclopts reads the types of
inherited fields in the module of the class that inherits them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args

from cyclopts import Parameter, Token, convert, validators

from spiking_yolo.io.text import LARGEST_INTEGER, Size, input_size, side_or_size


def at_least(low: int) -> Parameter:
    """A whole number, or each of several, from `low` to what random generators take."""
    return Parameter(validator=validators.Number(gte=low, lte=LARGEST_INTEGER))


def within(low: float, high: float) -> Parameter:
    """A number from `low` to `high`."""
    return Parameter(validator=validators.Number(gte=low, lte=high))


def above(low: float, high: float = 1e9) -> Parameter:
    """A number above `low`, up to `high`."""
    return Parameter(validator=validators.Number(gt=low, lte=high))


def _split(kind: Any, tokens: Sequence[Token]) -> Any:
    words: list[Token] = []
    for token in tokens:
        words += [token.evolve(value=word.strip()) for word in token.value.split(",")]
    return convert(kind, words)


def _pairs(_: Any, tokens: Sequence[Token]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for token in tokens:
        key, _, value = token.value.partition("=")
        if not (key and value):
            raise ValueError(f"KEY=VALUE is needed, as neuron.gamma=4, not {token.value!r}")
        pairs[key] = value
    return pairs


def _size(kind: Any, tokens: Sequence[Token]) -> int | Size:
    """A size; of an option that may be the longer side alone, that if it is given so."""
    read = side_or_size if int in get_args(kind) else input_size
    return read(tokens[0].value)


# Options with several values: with commas between them, or each a word of its own, as files are.
COMMAS = Parameter(converter=_split, n_tokens=1)
WORDS = Parameter(consume_multiple=True)
# The size of the input, 416 or 288x416.
SIZE = Parameter(converter=_size, n_tokens=1, accepts_keys=False, metavar="SIZE|HEIGHTxWIDTH")
METHODS = Parameter(name=("--method", "--methods"))
# Panels of --help-all, whose options --help only names.
DATA = Parameter(group="Data")
NETWORK = Parameter(group="Network")
BOXES = Parameter(group="Boxes")
VIDEO = Parameter(group="Video")
OUTPUT = Parameter(group="Output")

if TYPE_CHECKING:
    Settings = Mapping[str, Any]
else:
    # cyclopts needs a list as well, so that --set can be given more than once.
    Settings = Annotated[
        list[str] | Mapping[str, Any],
        Parameter(
            name="--set",
            converter=_pairs,
            n_tokens=1,
            accepts_keys=False,
            group="Network",
            metavar="KEY=VALUE",
        ),
    ]


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """Base of the options of a command, whose values cyclopts checks."""
