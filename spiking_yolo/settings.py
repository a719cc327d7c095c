"""The settings of a method: fields of frozen dataclasses with documentation and range.

The slots of a recipe are such dataclasses. The type of a field is bool, int, float, str or a
Literal.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Annotated, Any, Literal

import msgspec

from spiking_yolo.errors import UserError

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


def checked(name: str, entry: Setting, value: Any) -> Any:
    """The value of a field in its type, also from the text of a command line.

    Raises:
        UserError: It has another type, or is out of range; the message calls it `name`.
    """
    if entry.choices:
        if value in entry.choices:
            return value
        raise UserError(f"{name} must be one of {', '.join(entry.choices)}, not {value!r}")
    kind = entry.type
    if kind in (int, float):
        # The largest float is below infinity.
        highest = LARGEST if kind is int else sys.float_info.max
        lowest = -highest if entry.low is None else entry.low
        bounds = msgspec.Meta(ge=lowest, le=highest if entry.high is None else entry.high)
        kind = Annotated[kind, bounds]
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        said = str(error).replace("Expected", "must be").replace("`", "")
        raise UserError(f"{name} {said}, not {value!r:.60}") from None
