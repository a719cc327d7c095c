"""Fields of a JSON object that a stranger wrote: each is checked where it is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spiking_yolo.errors import UserError
from spiking_yolo.io.json import fits
from spiking_yolo.io.names import label

_REQUIRED = object()
# What messages call a type.
KINDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    list[int]: "a list of whole numbers",
    dict[str, Any]: "an object",
    list[dict[str, Any]]: "a list of objects",
    str | None: "text or null",
    float | None: "a number or null",
    str | int | None: "text, a whole number or null",
}


@dataclass(frozen=True)
class Fields:
    """A JSON object in a file.

    Attributes:
        path: Of the file.
        content: The object.
        where: What messages put before a key, such as "steps[0].".
    """

    path: Path
    content: Mapping[str, Any]
    where: str = ""

    def get(self, key: str, kind: Any, default: Any = _REQUIRED) -> Any:
        """A value of one of the KINDS. Raises UserError for another, or for none where there is no
        default.
        """
        if key not in self.content:
            if default is _REQUIRED:
                raise self.wrong(key, "is missing")
            return default
        value = self.content[key]
        if not fits(value, kind):
            raise self.wrong(key, f"is not {KINDS[kind]}")
        return value

    def number(self, key: str, kind: type, low: float, high: float = float("inf")) -> Any:
        """A number from low to high."""
        value = self.get(key, kind)
        if not low <= value <= high:
            limits = f"at least {low:g}" if high == float("inf") else f"{low:g} to {high:g}"
            raise self.wrong(key, f"is not {limits}")
        return value

    def text(self, key: str) -> str:
        """A text that is not empty, on one printable line."""
        value = label(self.get(key, str))
        if not value:
            raise self.wrong(key, "is empty")
        return value

    def wrong(self, key: str, reason: str) -> UserError:
        """The error that says which field of which file is not as it should be."""
        return UserError(
            f"{self.path}: {self.where}{key} {reason}; docs/howto/leaderboard.md has the format"
        )
