"""The settings of a method: fields of frozen dataclasses with documentation and range.

The slots of a recipe are such dataclasses. The type of a field is bool, int, float, str or a
Literal.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any, Literal

from spiking_yolo.errors import UserError
from spiking_yolo.io.names import did_you_mean

TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
# Of a whole number without another bound: random generators take no larger seed.
LARGEST = 2**31 - 1


def setting(
    default: Any,
    doc: str,
    low: float | None = None,
    high: float | None = None,
    choices: Iterable[str] | None = None,
) -> Any:
    """A field of a slot, with its documentation and range.

    Args:
        default: Default of the field.
        doc: Meaning.
        low: Smallest value.
        high: Largest value.
        choices: Allowed texts, besides those of a Literal; may grow later.
    """
    if choices is None:
        choices = []
    metadata = {"text": doc, "low": low, "high": high, "more": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Setting:
    """One field as `setting` describes it."""

    name: str
    type: Any
    default: Any
    text: str
    low: float | None
    high: float | None
    more: Any

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed texts: those of a Literal, and those that were added. Empty: any."""
        choices = list(self.more)
        if typing.get_origin(self.type) is Literal:
            choices = [*typing.get_args(self.type), *choices]
        return tuple(dict.fromkeys(choices))

    @property
    def range(self) -> str:
        """The range in words, such as "at least 1"."""
        if self.high is not None:
            return f"in {self.low}..{self.high}"
        return f"at least {self.low}"

    @property
    def documentation(self) -> str:
        """The meaning, with the choices if there are some."""
        if not self.choices:
            return self.text
        return f"{self.text} [{'|'.join(self.choices)}]"


@cache
def settings_of(cls: type) -> dict[str, Setting]:
    """The fields of a slot that `setting` describes, in the order of its `__init__`."""
    hints = typing.get_type_hints(cls)
    settings = {}
    for one in fields(cls):
        assert one.default is not MISSING
        settings[one.name] = Setting(one.name, hints[one.name], one.default, **one.metadata)
    return settings


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
        raise UserError(f"{name} must be {TYPE_NAMES[kind]}, not {value!r}") from None


def checked(name: str, entry: Setting, value: Any) -> Any:
    """The value of a field, if it has its type and range.

    Raises:
        UserError: It does not; the message calls it `name`.
    """
    if entry.choices:
        return _checked_choice(name, entry, value)
    kind = entry.type
    if kind is float and type(value) is int:
        value = float(value)
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not fits or "\0" in str(value):
        raise UserError(f"{name} must be {TYPE_NAMES[kind]}, not {value!r}")
    _check_range(name, entry, value)
    return value


def _checked_choice(name: str, entry: Setting, value: Any) -> str:
    if value not in entry.choices:
        hint = ""
        if isinstance(value, str):
            hint = did_you_mean(value, entry.choices)
        raise UserError(f"{name} must be one of {', '.join(entry.choices)}, not {value!r}{hint}")
    return value


def _check_range(name: str, entry: Setting, value: Any) -> None:
    low, high = entry.low, entry.high
    if (low is not None and value < low) or (high is not None and value > high):
        raise UserError(f"{name} must be {entry.range}, not {value}")
    if isinstance(value, int) and value > LARGEST:
        raise UserError(f"{name} must be at most {LARGEST}, not {str(value)[:40]}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name} must be a finite number, not {value}")
