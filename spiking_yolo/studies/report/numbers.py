"""Numbers of a page, as short as they can be read."""

import math
from typing import Any

DIGITS = 4  # significant ones


def rounded(value: Any, digits: int = DIGITS) -> Any:
    """Floats, also in lists and dicts, with so many significant digits; None for nan and infinity."""
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item, digits) for item in value]
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
