"""Options as fields of frozen dataclasses: type, default, documentation and range in one place.

A recipe's slots and the options of every study are such dataclasses. `Options` checks its fields
when it is made, so that a Python caller and the command line get the same UserError. A field's type
is bool, int, float, str, Path, a Literal, Size, a tuple of these, a Mapping, Factors, or one of
them `| None`.
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal

from spiking_yolo.errors import UserError
from spiking_yolo.io.names import Size, input_size

_IN_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
}
_UNIONS = (types.UnionType, typing.Union)
# Of a whole number without another bound, which random generators take as a seed too.
LARGEST = 2**31 - 1
# NAME -> factor, as text NAME:0.5,NAME2:2.
Factors = tuple[tuple[str, float], ...]


def setting(
    default: Any = MISSING,
    doc: str | None = None,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Collection[str] = (),
) -> Any:
    """A field with its documentation and its closed range; above: a bound that is itself excluded.

    The range is that of each element of a tuple and of each factor. None as a default is allowed
    whatever the range. choices: of a text, looked up when it is checked, so that they may grow. doc
    None: that of the field of this name in a base class, range included,
    whose default is changed.
    """
    metadata = {"doc": doc, "low": low, "high": high, "above": above, "names": choices}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Setting:
    """One field as `setting` describes it. type: without `| None`. group: the class that introduced
    it.
    """

    name: str
    type: Any
    optional: bool
    default: Any
    doc: str
    low: float | None
    high: float | None
    above: float | None
    names: Collection[str]
    group: type
    positional: bool

    @property
    def required(self) -> bool:
        return self.default is MISSING

    @property
    def choices(self) -> tuple[Any, ...]:
        """The allowed values: those of the Literal, and those that `allow` has added."""
        if typing.get_origin(self.type) is not Literal:
            return tuple(self.names)
        return (*typing.get_args(self.type), *_ADDED.get((self.group, self.name), ()))

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
        """Whether each value is a word of its own on a command line, as files are; others have
        commas between them.
        """
        return self.type == tuple[Path, ...]

    @property
    def element(self) -> Any:
        """The type of one value."""
        return typing.get_args(self.type)[0] if self.many else self.type

    @property
    def documentation(self) -> str:
        """What it means, with the choices where it has some."""
        return self.doc + (f" [{'|'.join(map(str, self.choices))}]" if self.choices else "")


@cache
def settings_of(cls: type) -> dict[str, Setting]:
    """The described fields of a dataclass by name, in the order of its `__init__`."""
    hints = typing.get_type_hints(cls)
    found = {}
    for f in fields(cls):
        if "doc" not in f.metadata:
            continue
        origins = [c for c in cls.__mro__ if f.name in inspect.get_annotations(c)]
        described = next(
            m for c in origins if (m := c.__dataclass_fields__[f.name].metadata)["doc"] is not None
        )
        parts = (
            typing.get_args(hints[f.name]) if typing.get_origin(hints[f.name]) in _UNIONS else ()
        )
        kind = next((part for part in parts if part is not types.NoneType), hints[f.name])
        default = f.default if f.default_factory is MISSING else f.default_factory()
        found[f.name] = Setting(
            f.name,
            kind,
            bool(parts),
            default,
            **described,
            group=origins[-1],
            positional=not f.kw_only,
        )
    return found


_ADDED: dict[tuple[type, str], list[str]] = {}
_PROVIDERS: dict[tuple[type, str], str] = {}


def provided_by(cls: type, name: str, module: str) -> None:
    """Say which module allows more choices for a field of `cls` when it is imported, as soon as one
    is asked for.
    """
    _PROVIDERS[cls, name] = module


def allow(cls: type, name: str, choice: str) -> None:
    """Add a choice to a field of `cls` that is a Literal: for what registers itself when it is
    imported.
    """
    if choice not in settings_of(cls)[name].choices:
        _ADDED.setdefault((cls, name), []).append(choice)


@dataclass(frozen=True)
class Options:
    """Base of frozen dataclasses whose fields are settings: made only from values of the right type
    and range.

    title: of the group of these options in --help.
    """

    title: ClassVar[str] = "options"

    def __post_init__(self) -> None:
        for name, entry in settings_of(type(self)).items():
            object.__setattr__(self, name, checked(name, entry, getattr(self, name)))


def parse(name: str, kind: Any, value: Any) -> Any:
    """A value as a command line or JSON gives it, in the type of its field. name: what messages
    call it.
    """
    if not isinstance(value, str) or kind not in (bool, int, float):
        return float(value) if kind is float and type(value) is int else value
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
        return kind(value)
    except (ValueError, KeyError):
        raise UserError(f"{name} must be {_IN_WORDS[kind]}, not {value!r}") from None


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
    """The value, once it is known to have the type and the range of its field; text becomes a Path,
    a list a tuple.

    Raises UserError, which calls it `name`, where it does not fit.
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
        if value not in entry.choices and (entry.group, entry.name) in _PROVIDERS:
            import_module(_PROVIDERS[entry.group, entry.name])
        if value not in entry.choices:
            raise UserError(
                f"{name} must be one of {', '.join(map(str, entry.choices))}, not {value!r}"
            )
        return value
    if kind is float and type(value) is int:
        value = float(value)
    if kind is Path and isinstance(value, str) and value:
        value = Path(value)
    if (
        not isinstance(value, kind)
        or (isinstance(value, bool) and kind is not bool)
        or "\0" in str(value)
    ):
        raise UserError(f"{name} must be {_IN_WORDS[kind]}, not {value!r}")
    _in_range(name, entry, value)
    return value


def _in_range(name: str, entry: Setting, value: Any) -> None:
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
    pairs = value.items() if isinstance(value, Mapping) else value
    if isinstance(value, str):
        pairs = (part.rpartition(":")[::2] for part in value.split(",") if part)
    try:
        # "a1" is no pair of "a" and "1".
        apart: Iterable[Any] = (() if isinstance(pair, str) else pair for pair in pairs)
        factors = tuple((site, float(factor)) for site, factor in apart)
    except (TypeError, ValueError):
        factors = ((None, 0.0),)
    if not all(isinstance(site, str) and site for site, _ in factors):
        raise UserError(
            f"{name} takes LAYER:FACTOR with commas, e.g. conv1:0.5,conv2:2, not {value!r}"
        )
    if len({site for site, _ in factors}) < len(factors):
        raise UserError(f"{name} names a layer twice: give one factor for each")
    for site, factor in factors:
        _in_range(f"{name} of {site}", entry, factor)
    return factors
