"""Settings that check themselves: fields of frozen dataclasses with a documentation and a range, parsed from text.

A field's type is bool, int, float, str, a Literal, or Factors.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable
from dataclasses import Field, field
from typing import Any

from spiking_yolo.errors import UserError

Factors = tuple[tuple[str, float], ...]  # NAME -> factor, as text NAME:0.5,NAME2:2


def key(default: Any, doc: str, low: float | None = None, high: float | None = None) -> Any:
    """A setting with its documentation and the closed range of allowed values (of each factor, for Factors)."""
    return field(default=default, metadata={"doc": doc, "low": low, "high": high})


def documentation(f: Field, cls: type) -> str:
    """What a setting means, with the choices where it has some."""
    choices = _choices(_hint(cls, f.name))
    return f.metadata["doc"] + (f" [{'|'.join(map(str, choices))}]" if choices else "")


def parse(name: str, cls: type, attribute: str, value: Any) -> Any:
    """A value as --set or JSON gives it, in the type of its field. name: what messages call the setting."""
    hint = _hint(cls, attribute)
    if hint == Factors:
        return _factors(name, value)
    if not isinstance(value, str) or hint is str or _choices(hint):
        return float(value) if hint is float and type(value) is int else value
    try:
        if hint is bool:
            return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
        return hint(value)
    except (ValueError, KeyError):
        raise UserError(f"{name} must be {hint.__name__}, not {value!r}") from None


def check(name: str, f: Field, cls: type, value: Any) -> None:
    """Raise UserError unless the value has the type of its field and lies in its range."""
    hint = _hint(cls, f.name)
    if hint == Factors:
        if len({site for site, _ in value}) < len(value):
            raise UserError(f"{name} names a layer twice: give one factor for each")
        for site, factor in value:
            _in_range(f"{name} of {site}", f, factor)
        return
    if choices := _choices(hint):
        if value not in choices:
            raise UserError(f"{name} must be one of {', '.join(map(str, choices))}, not {value!r}")
        return
    if type(value) is not hint:
        raise UserError(f"{name} must be {hint.__name__}, not {value!r}")
    _in_range(name, f, value)


def _in_range(name: str, f: Field, value: Any) -> None:
    low, high = f.metadata["low"], f.metadata["high"]
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        raise UserError(
            f"{name} must be {'at least ' + str(low) if high is None else f'in {low}..{high}'}, not {value}"
        )


def _factors(name: str, value: Any) -> Factors:
    pairs: Iterable[Any] = value
    if isinstance(value, str):
        pairs = (part.rpartition(":")[::2] for part in value.split(",") if part)
    try:
        factors = tuple((site, float(factor)) for site, factor in pairs)
    except (TypeError, ValueError):
        factors = ((None, 0.0),)
    if not all(isinstance(site, str) and site for site, _ in factors):
        raise UserError(f"{name} takes LAYER:FACTOR with commas, e.g. conv1:0.5,conv2:2, not {value!r}")
    return factors


def _hint(cls: type, name: str) -> Any:
    return typing.get_type_hints(cls)[name]


def _choices(hint: Any) -> tuple[Any, ...]:
    return () if hint == Factors else typing.get_args(hint)
