"""JSON: written without nan and infinity, and read from untrusted files with checked types."""

import json
import math
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write, regular


def write_json(path: str | Path, content: Any, indent: int | None = None) -> None:
    """Write a JSON file, whole or not at all; see `json_text`. Raises UserError if that fails."""
    with atomic_write(path) as temporary:
        temporary.write_text(json_text(content, indent=indent) + "\n")


def json_text(value: Any, **layout: Any) -> str:
    """The JSON of a value, with null for nan and infinity. layout: keywords of json.dumps."""
    return json.dumps(finite(value), allow_nan=False, **layout)


def exact_json(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """The JSON of figures, which reads back exactly. Raises UserError for nan and infinity.

    default: what JSON has of values that it does not know.
    """
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"), default=default)
    except ValueError:
        raise UserError(
            "the network's outputs are not finite: convert it with other settings"
        ) from None


def finite(value: Any, digits: int | None = None) -> Any:
    """The value, and those inside dicts and lists, with None for nan and infinity.

    Args:
        value: What to write as JSON.
        digits: Significant digits of floats, by default all. Whole numbers become int.
    """
    if isinstance(value, dict):
        return {key: finite(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item, digits) for item in value]
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    if digits is None:
        return value
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """One entry per number: keys of nested mappings are joined by points, as in energy_mJ.fp32."""
    entries: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            entries |= flat(item, f"{prefix}{key}.")
        else:
            entries[prefix + key] = item
    return entries


# Characters of a value in a message.
LONGEST = 60


def read_json(text: str | bytes, kind: Any = Any) -> Any:
    """The value of a JSON text.

    Args:
        text: JSON without NaN and infinity.
        kind: The type that it must have: int, float, str, bool, None, list[...], dict[str, ...], a
            union of them, or Any.

    Raises:
        ValueError: It is no such JSON; says what is wrong.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("its lists are nested too deeply") from None
    if not fits(value, kind):
        raise ValueError(f"{ascii(value)[:LONGEST]} is no {getattr(kind, '__name__', kind)}")
    return value


def read_json_file(path: Path, expected: str) -> Any:
    """The value of a JSON file. Raises UserError if it is missing or no JSON.

    Args:
        path: Of the file.
        expected: What the message asks for.
    """
    try:
        content = regular(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} is missing: pass {expected}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; pass {expected}") from None
    try:
        return read_json(content)
    except ValueError as error:  # not JSON, or not UTF-8
        raise UserError(
            f"{path} is not readable json ({str(error)[:80]}): write or fetch it again"
        ) from None


def entry(metadata: Mapping[str, str], key: str, kind: Any = Any) -> Any:
    """A JSON value in a file's metadata. Raises ValueError if it is missing or of another type."""
    if key not in metadata:
        raise ValueError(f"{key} is missing")
    try:
        return read_json(metadata[key], kind)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a type, as `read_json` takes them; a whole number is a float too."""
    if kind is Any:
        return True
    origin = get_origin(kind)
    parts = get_args(kind)
    if origin is types.UnionType:
        return any(fits(value, part) for part in parts)
    if origin is list and parts[0] in (int, str):
        return isinstance(value, list) and set(map(type, value)) <= {parts[0]}
    if origin is list:
        return isinstance(value, list) and all(fits(item, parts[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(item, parts[1]) for item in value.values())
    return (
        type(value) is kind
        or (kind is float and type(value) is int)
        or (kind is None and value is None)
    )
