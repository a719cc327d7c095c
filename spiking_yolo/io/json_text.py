"""JSON that is written: no nan, no infinity, and whole files."""

import json
import math
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


def finite(value: Any) -> Any:
    """The same value, dicts and lists included, with None for nan and infinity."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
