"""JSON that is written: no nan, no infinity, and whole files."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spiking_yolo.errors import UserError
from spiking_yolo.io.atomic import atomic_write


def write_json(path: str | Path, content: Any, indent: int | None = None) -> None:
    """Write a JSON file, whole or not at all; see `json_text`. Raises UserError when the system refuses to write."""
    with atomic_write(path) as temporary:
        temporary.write_text(json_text(content, indent=indent) + "\n")


def json_text(value: Any, **layout: Any) -> str:
    """The JSON of a value, with null for nan and infinity, which JSON does not have. layout: of json.dumps."""
    return json.dumps(finite(value), allow_nan=False, **layout)


def exact_json(value: Any) -> str:
    """The JSON of figures, which reads back exactly. Raises UserError for nan and infinity."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise UserError("the network's outputs are not finite: convert it with other settings") from None


def finite(value: Any, digits: int | None = None) -> Any:
    """The same value, dicts and lists included, with None for nan and infinity.

    digits: significant ones that floats keep, whole numbers without a point; all of them by default.
    """
    if isinstance(value, dict):
        return {key: finite(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item, digits) for item in value]
    if not isinstance(value, float) or digits is None or not math.isfinite(value):
        return None if isinstance(value, float) and not math.isfinite(value) else value
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """One entry per number: the keys of nested mappings joined by points, as in energy_mJ.fp32."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= flat(item, f"{prefix}{key}.") if isinstance(item, Mapping) else {prefix + key: item}
    return found
