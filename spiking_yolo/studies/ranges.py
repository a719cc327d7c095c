"""Ranges of a study's options, checked where the options are made."""

from __future__ import annotations

from typing import Any

from spiking_yolo.errors import UserError


def check_range(options: Any, names: str, low: float, high: float | None = None) -> None:
    """Raise UserError, in the words of the command line, unless the named fields lie in low..high; None passes."""
    for name in names.split():
        value = getattr(options, name)
        if value is not None and not (low <= value and (high is None or value <= high)):
            reach = f"be at least {low}" if high is None else f"lie in {low}..{high}"
            raise UserError(f"--{name.replace('_', '-')} must {reach}, not {value}")
