"""A file of limits for the ratios of a benchmark, so that a later change cannot slow anything down unseen."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spiking_yolo.errors import UserError


@dataclass(frozen=True)
class Limit:
    """A bound on one ratio. of: the path to it in the results, e.g. ("steps", "msat/float32/eager", "ratio")."""

    of: tuple[str, ...]
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            raise UserError(f"limit of {'/'.join(self.of)}: give either at_most or at_least")

    def value(self, results: Mapping[str, Any]) -> float | None:
        """The measured ratio; None where this machine did not measure it."""
        value: Any = results
        for part in self.of:
            if not isinstance(value, Mapping) or part not in value:
                return None
            value = value[part]
        return float(value)

    def violation(self, results: Mapping[str, Any]) -> str | None:
        """One line when the measured ratio breaks the limit, else None."""
        value, name = self.value(results), " / ".join(self.of)
        if value is not None and self.at_most is not None and value > self.at_most:
            return f"{name} is {value:.3f}, above its limit {self.at_most:g}"
        if value is not None and self.at_least is not None and value < self.at_least:
            return f"{name} is {value:.3f}, below its limit {self.at_least:g}"
        return None


def read_limits(path: Path) -> list[Limit]:
    """The limits of a .json file: a list of {"of": [...], "at_most" or "at_least": number}."""
    try:
        return [Limit(tuple(map(str, entry.pop("of"))), **entry) for entry in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"cannot read the limits {path}: {error}") from error
