"""JSON, written without nan and infinity, and read from untrusted files with checked types; tables
of figures, as csv files and as aligned text.
"""

import codecs
import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write, read_bytes


def write_json(path: str | Path, content: Any, indent: int | None = None) -> None:
    """Write a JSON file, whole or not at all; see `json_text`. Raises UserError if that fails."""
    with atomic_write(path) as temporary:
        temporary.write_text(json_text(content, indent=indent) + "\n")


def json_text(value: Any, **layout: Any) -> str:
    """The JSON of a value, with null for nan and infinity. layout: keywords of json.dumps."""
    return json.dumps(finite(value), allow_nan=False, **layout)


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
    if short.is_integer() and abs(short) < 1e15:
        return int(short)
    return short


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """One entry per number: keys of nested mappings are joined by points, as in energy_mJ.fp32."""
    entries: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            entries |= flat(item, f"{prefix}{key}.")
        else:
            entries[prefix + key] = item
    return entries


def read_json(text: str | bytes, kind: Any = Any) -> Any:
    """The value of a JSON text.

    Args:
        text: JSON without NaN and infinity.
        kind: The type that it must have, as msgspec checks it.

    Raises:
        ValueError: It is no such JSON; says what is wrong.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise ValueError(str(error)) from None


def read_json_file(path: Path, kind: Any = Any) -> Any:
    """The value of a JSON file. Raises UserError if it is missing or not of this type."""
    content = read_bytes(path).removeprefix(codecs.BOM_UTF8)
    try:
        return read_json(content, kind)
    except ValueError as error:
        raise UserError(f"{path} is not the json wanted ({error!s:.120}): correct it") from None


def entry(metadata: Mapping[str, str], key: str, kind: Any = Any) -> Any:
    """A JSON value in a file's metadata. Raises ValueError if it is missing or of another type."""
    if key not in metadata:
        raise ValueError(f"{key} is missing")
    try:
        return read_json(metadata[key], kind)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def columns(rows: Sequence[Sequence[str]], words: bool = False) -> str:
    """Aligned text with two spaces between columns: the first flush left, the others right, unless
    they are `words`.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        for cell, width in zip(row[1:], widths[1:], strict=True):
            cells.append(cell.ljust(width) if words else cell.rjust(width))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def percent(value: float, number: str = ".1f") -> str:
    """A fraction in percent; "-" for nan, where there is nothing to measure."""
    return "-" if math.isnan(value) else format(100 * value, number)


def write_csv(
    path: Path, rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None
) -> None:
    """Write a csv file, whole or not at all.

    Args:
        path: Path of the file.
        rows: Cells by column; missing ones, None, nan and infinity are empty.
        names: Names of the columns, by default the keys of the first row.

    Raises:
        UserError: The file cannot be written.
    """
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf8") as file:
        writer = csv.DictWriter(file, names or list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(map(finite, rows))
