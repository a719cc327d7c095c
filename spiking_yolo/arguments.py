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
from dataclasses import dataclass, fields
from inspect import formatannotation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from cyclopts import Parameter, Token, convert, validators

from spiking_yolo.errors import UserError
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
    return _sized(kind, tokens[0].value)


def _sized(kind: Any, value: Any) -> int | Size:
    """A size; of an option that may be the longer side alone, that if it is given so."""
    return side_or_size(value) if int in get_args(kind) else input_size(value)


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
    """Base of the options of a command. Values from Python are checked as those from a line are.

    Raises:
        UserError: A value has another type than its field, or is out of range.
    """

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for name in (one.name for one in fields(self)):
            kind, extras = hints[name], list[Any]()
            if get_origin(kind) is Annotated:
                kind, *extras = get_args(kind)
            value = _converted(name, kind, getattr(self, name))
            for check in [check for extra in extras for check in extra.validator or ()]:
                try:
                    check(kind, value)
                except ValueError as error:
                    message = str(error).rstrip(".").replace("Must", "must")
                    raise UserError(f"{name} {message}, not {value}") from None
            object.__setattr__(self, name, value)


def _converted(name: str, kind: Any, value: Any) -> Any:
    """A value as its field has it: text becomes a path or a size, and a list a tuple."""
    if value is not None and Size in (kind, *get_args(kind)):
        try:
            return _sized(kind, value)
        except UserError as error:
            raise UserError(f"{name}: {error}") from None
    try:
        return msgspec.convert(value, kind, dec_hook=_path)
    except msgspec.ValidationError:
        raise UserError(f"{name} must be {formatannotation(kind)}, not {value!r}") from None


def _path(_: Any, value: Any) -> Path:
    if not value or not isinstance(value, str | Path):
        raise ValueError(value)
    return Path(value)
