"""Options as fields of frozen dataclasses: type, default, documentation and range in one place.

The slots of a recipe and the options of every verb are such dataclasses. The type of a field is
bool, int, float, str, Path, a Literal, Size, a tuple of these, a Mapping, Factors, or one of them
`| None`.
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal

from spiking_yolo.errors import UserError
from spiking_yolo.io.names import Size, did_you_mean, input_size

_TYPE_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
}
# Of a whole number without another bound: random generators take no larger seed.
LARGEST = 2**31 - 1
# LAYER -> factor; as text LAYER:0.5,LAYER2:2.
Factors = tuple[tuple[str, float], ...]


def setting(
    default: Any = MISSING,
    doc: str | None = None,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Iterable[str] | None = None,
    provider: str | None = None,
) -> Any:
    """A field of a dataclass of options, with its documentation and range.

    Args:
        default: Of the field; required without one. None is allowed whatever the range.
        doc: Meaning. None repeats a field of a base class, range included, with another default.
        low: Smallest value: of each element of a tuple, of each factor.
        high: Largest value.
        above: A bound that is itself excluded.
        choices: Allowed texts, besides those of a Literal; may grow later.
        provider: Module that adds choices when it is imported; imported when one is not known.

    Example:
        >>> @dataclass(frozen=True, kw_only=True)
        ... class MyOptions(Options):
        ...     T: int = setting(64, "timesteps", 1)
        >>> MyOptions(T=0)
        Traceback (most recent call last):
        spiking_yolo.errors.UserError: T must be at least 1, not 0
    """
    metadata = {
        "doc": doc,
        "low": low,
        "high": high,
        "above": above,
        "more_choices": [] if choices is None else choices,
        "provider": provider,
    }
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Setting:
    """One field as `setting` describes it.

    type: of the values, without `| None`. group: the class that introduced the field. positional:
    whether its values have no flag on the command line.
    """

    name: str
    type: Any
    optional: bool
    default: Any
    group: Any
    positional: bool
    doc: str
    low: float | None
    high: float | None
    above: float | None
    more_choices: Any
    provider: str | None

    @property
    def required(self) -> bool:
        return self.default is MISSING

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed texts: those of a Literal, and those that were added. Empty: any."""
        literals = typing.get_args(self.type) if typing.get_origin(self.type) is Literal else ()
        return tuple(dict.fromkeys((*literals, *self.more_choices)))

    @property
    def range(self) -> str:
        """The range in words, such as "at least 1"; "" where any value is allowed."""
        if self.above is not None:
            return f"above {self.above}" + (f", at most {self.high}" if self.high else "")
        if self.high is not None:
            return f"in {self.low}..{self.high}"
        return "" if self.low is None else f"at least {self.low}"

    @property
    def is_mapping(self) -> bool:
        return typing.get_origin(self.type) is Mapping

    @property
    def many(self) -> bool:
        """Whether it is a tuple of any length."""
        return typing.get_origin(self.type) is tuple and self.type not in (Size, Factors)

    @property
    def words(self) -> bool:
        """Whether each value is a word of its own on a command line, as files are.

        Other values are separated by commas.
        """
        return self.type == tuple[Path, ...]

    @property
    def element(self) -> Any:
        """The type of one value."""
        return typing.get_args(self.type)[0] if self.many else self.type

    @property
    def documentation(self) -> str:
        """The meaning, with the choices if there are some."""
        return self.doc + (f" [{'|'.join(self.choices)}]" if self.choices else "")


@cache
def settings_of(cls: type) -> dict[str, Setting]:
    """The fields of a dataclass that `setting` describes, in the order of its `__init__`."""
    hints = typing.get_type_hints(cls)
    settings = {}
    for f in fields(cls):
        if "doc" not in f.metadata:
            continue
        classes = [c for c in cls.__mro__ if f.name in inspect.get_annotations(c)]
        descriptions = [c.__dataclass_fields__[f.name].metadata for c in classes]
        description = next(d for d in descriptions if d["doc"] is not None)
        hint = hints[f.name]
        is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
        members = typing.get_args(hint) if is_union else (hint,)
        settings[f.name] = Setting(
            name=f.name,
            type=next(member for member in members if member is not types.NoneType),
            optional=types.NoneType in members,
            default=f.default if f.default_factory is MISSING else f.default_factory(),
            group=classes[-1],
            positional=not f.kw_only,
            **description,
        )
    return settings


@dataclass(frozen=True)
class Options:
    """Base of the options of a verb: frozen dataclasses whose fields are settings.

    Values are checked when an object is made, so that Python and the command line get the same
    UserError. title: of the group of these options in --help.
    """

    title: ClassVar[str] = "options"

    def __post_init__(self) -> None:
        for name, entry in settings_of(type(self)).items():
            object.__setattr__(self, name, checked(name, entry, getattr(self, name)))


def parse(name: str, kind: Any, value: Any) -> Any:
    """A value from a command line or from JSON, in the type of its field.

    name: what messages call it. Text of other types than numbers and flags stays as it is.
    """
    if kind is float and type(value) is int:
        return float(value)
    if not isinstance(value, str) or kind not in (bool, int, float):
        return value
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
        return kind(value)
    except (ValueError, KeyError):
        raise UserError(f"{name} must be {_TYPE_NAMES[kind]}, not {value!r}") from None


def from_texts(name: str, entry: Setting, texts: Sequence[str]) -> Any:
    """The value of a field from the words of a command line, which calls it `name`.

    Raises:
        UserError: The words are not of the type of the field, or the value is out of range.
    """
    if entry.is_mapping:
        return dict(_key_value(name, text) for text in texts)
    if not entry.many:
        return checked(name, entry, parse(name, entry.type, texts[0]))
    if not entry.words:
        texts = [text.strip() for text in texts[0].split(",")]
    return checked(name, entry, tuple(parse(name, entry.element, text) for text in texts))


def _key_value(name: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise UserError(f"{name} takes KEY=VALUE, e.g. {name} neuron.gamma=4, not {text!r}")
    return key, value


def checked(name: str, entry: Setting, value: Any) -> Any:
    """The value of a field, if it has its type and range; text becomes a Path, a list a tuple.

    Raises:
        UserError: It does not; the message calls it `name`.
    """
    if value is None and (entry.optional or entry.default is None):
        return value
    if entry.type == Factors:
        return _checked_factors(name, entry, value)
    if entry.is_mapping:
        if not isinstance(value, Mapping):
            raise UserError(f"{name} must be a mapping of keys to values, not {value!r}")
        return value
    if not entry.many:
        return _checked_element(name, entry, value)
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise UserError(f"{name} must be a sequence of values, not {value!r}")
    return tuple(_checked_element(name, entry, one) for one in value)


def _checked_element(name: str, entry: Setting, value: Any) -> Any:
    kind = entry.element
    if kind == Size:
        try:
            return input_size(value)
        except UserError as error:
            raise UserError(f"{name}: {error}") from None
    if entry.choices:
        _check_choice(name, entry, value)
        return value
    if kind is float and type(value) is int:
        value = float(value)
    if kind is Path and isinstance(value, str) and value:
        value = Path(value)
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not fits or "\0" in str(value):
        raise UserError(f"{name} must be {_TYPE_NAMES[kind]}, not {value!r}")
    _check_range(name, entry, value)
    return value


def _check_choice(name: str, entry: Setting, value: Any) -> None:
    if value not in entry.choices and entry.provider:
        import_module(entry.provider)
    if value not in entry.choices:
        hint = did_you_mean(value, entry.choices) if isinstance(value, str) else ""
        raise UserError(f"{name} must be one of {', '.join(entry.choices)}, not {value!r}{hint}")


def _check_range(name: str, entry: Setting, value: Any) -> None:
    inside = (
        (entry.low is None or value >= entry.low)
        and (entry.high is None or value <= entry.high)
        and (entry.above is None or value > entry.above)
    )
    if not inside:
        raise UserError(f"{name} must be {entry.range}, not {value}")
    if isinstance(value, int) and entry.high is None and value > LARGEST:
        raise UserError(f"{name} must be at most {LARGEST}, not {str(value)[:40]}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name} must be a finite number, not {value}")


def _checked_factors(name: str, entry: Setting, value: Any) -> Factors:
    try:
        factors = tuple((layer, float(factor)) for layer, factor in _pairs(value))
    except (TypeError, ValueError):
        factors = (("", 0.0),)
    if not all(isinstance(layer, str) and layer for layer, _ in factors):
        raise UserError(
            f"{name} takes LAYER:FACTOR with commas, e.g. conv1:0.5,conv2:2, not {value!r}"
        )
    if len(dict(factors)) < len(factors):
        raise UserError(f"{name} names a layer twice: give one factor for each")
    for layer, factor in factors:
        _check_range(f"{name} of {layer}", entry, factor)
    return factors


def _pairs(value: Any) -> Iterable[Any]:
    """Layers and factors from "LAYER:0.5,LAYER2:2", a mapping, or pairs."""
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, str):
        return [part.rpartition(":")[::2] for part in value.split(",") if part]
    # A text of two letters would unpack like a pair.
    return [() if isinstance(pair, str) else pair for pair in value]
