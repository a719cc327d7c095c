"""JSON of files that nobody vouches for: of the type that is asked for, or a ValueError, whatever is wrong with it.

Imports nothing heavy.
"""

import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import regular

LONGEST = 60  # characters of a value in a message


def read_json(text: str | bytes, kind: Any = Any) -> Any:
    """The value of a JSON text. kind: int, float, str, bool, None, list[...], dict[str, ...], a union of them or Any.

    Lists and objects may not lie deeper than Python's stack, and NaN and infinity are no JSON. Raises ValueError that
    says what is wrong.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("its lists lie too deep in one another") from None
    if not _fits(value, kind):
        raise ValueError(f"{ascii(value)[:LONGEST]} is no {getattr(kind, '__name__', kind)}")
    return value


def read_json_file(path: Path, wanted: str) -> Any:
    """The value of a JSON file. wanted: what to pass. Raises UserError when it is missing, or not readable as JSON."""
    try:
        content = regular(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} is missing: pass {wanted}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; pass {wanted}") from None
    try:
        return read_json(content)
    except ValueError as error:  # not JSON, or not UTF-8
        raise UserError(f"{path} is not readable json ({str(error)[:80]}): write or fetch it again") from None


def entry(metadata: Mapping[str, str], key: str, kind: Any = Any) -> Any:
    """The JSON value of a file's metadata. Raises ValueError naming the key when it is missing or of another type."""
    if key not in metadata:
        raise ValueError(f"{key} is missing")
    try:
        return read_json(metadata[key], kind)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _fits(value: Any, kind: Any) -> bool:
    if kind is Any:
        return True
    origin, parts = get_origin(kind), get_args(kind)
    if origin is types.UnionType:
        return any(_fits(value, part) for part in parts)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, parts[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, parts[1]) for item in value.values())
    return type(value) is kind or (kind is float and type(value) is int) or (kind is None and value is None)
