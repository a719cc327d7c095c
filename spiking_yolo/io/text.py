"""Text: names from files and command lines, made safe to print and to use, and input sizes; JSON,
written without nan and infinity, and read with checked types; tables, as csv files and as text.

This module imports nothing heavy.
"""

import codecs
import csv
import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import msgspec

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write, read_bytes

# The most characters of a label and of an error's message.
LABEL, REASON = 80, 200
# The most bytes of the stem of a file.
FILE = 120
_PLAIN = re.compile(r"\w[\w.+-]{0,99}")


def printable(text: object) -> str:
    """Make text safe for a terminal: what is not printable, line ends apart, becomes "?"."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def reason(error: object) -> str:
    """An exception's message on one line of at most REASON characters; torch's fill pages."""
    return printable(" ".join(str(error).split()))[:REASON]


def label(text: object) -> str:
    """The name of a class on one line of at most LABEL printable characters."""
    line = " ".join(str(text).split())
    if not line.isprintable():
        line = printable(line)
    return line[:LABEL]


def file_name(text: str) -> str:
    """The stem of a file to write: without folders, not hidden, with room for a suffix."""
    name = re.sub(r"[/\\\0]", "_", printable(text).replace("\n", "_")).lstrip(".") or "_"
    return name.encode()[:FILE].decode(errors="ignore")


def whole(text: str) -> int | None:
    """The number in a text of one to nine decimal digits, None for other text.

    Python refuses to read more than 4300 digits, and nothing here is counted to a billion.
    """
    return int(text) if text.isdecimal() and len(text) < 10 else None


def plain_name(text: object, what: str) -> str:
    """Check the name of a layer or method, which is used for files, tensors and labels as it is.

    Raises:
        UserError: It has other characters than letters, digits and . _ + -.
    """
    if not (isinstance(text, str) and _PLAIN.fullmatch(text)):
        shown = f"{what} {ascii(text)[:LABEL]}"
        raise UserError(f"{shown} must be named by letters, digits and . _ + - alone")
    return text


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "; did you mean 'msat'?" if a known name resembles this one, else ""."""
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


# The largest whole number without another bound: random generators take no larger seed.
LARGEST_INTEGER = 2**31 - 1
# Pixels of the input per cell of the coarsest map, in all detectors here.
STRIDE = 32
# The most pixels of a side: a typing error should not ask for terabytes.
LARGEST = 4096
# Height and width in pixels.
Size = tuple[int, int]


def input_size(value: int | str | Sequence[int]) -> Size:
    """Height and width in pixels.

    Args:
        value: The side of a square, a pair, or text: 416, (288, 416), "416" or "288x416".

    Raises:
        UserError: A side is no multiple of STRIDE up to LARGEST.
    """
    if isinstance(value, str):
        sides = [whole(part) or 0 for part in value.split("x")]
        if len(sides) == 1:
            sides *= 2
    elif isinstance(value, Sequence):
        sides = list(value)
    else:
        sides = [value, value]
    fit = all(isinstance(s, Integral) and 0 < s <= LARGEST and s % STRIDE == 0 for s in sides)
    if not fit or len(sides) != 2:
        rule = f"each side of the input must be a multiple of {STRIDE} pixels, at most {LARGEST}"
        raise UserError(f"{rule}: give 416, or HEIGHTxWIDTH as in 288x416, not {value!r:.40}")
    return int(sides[0]), int(sides[1])


def side_or_size(value: int | str | Sequence[int]) -> int | Size:
    """The longer side alone where nothing else is said: 416, but (288, 416) or (416, 416)."""
    size = input_size(value)
    one = isinstance(value, Integral) or (isinstance(value, str) and "x" not in value)
    return size[0] if one else size


def size_name(size: Size) -> str:
    """ "416" for (416, 416) and "288x416" for (288, 416); `input_size` reads both."""
    height, width = size
    if height == width:
        return str(height)
    return f"{height}x{width}"


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
    """Flatten nested mappings, whose keys are joined by points, as in energy_mJ.fp32."""
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


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], names: Sequence[str] = ()) -> None:
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
