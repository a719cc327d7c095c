"""The darknet .cfg text format: an ordered list of sections whose names repeat."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import read_text
from spiking_yolo.settings import LARGEST

SECTIONS = 2000  # at most; YOLOv4's largest cfg has a tenth of that
ALIASES = {
    "network": "net",
    "conv": "convolutional",
    "conn": "connected",
    "max": "maxpool",
    "avg": "avgpool",
    "soft": "softmax",
}


@dataclass(frozen=True)
class Section:
    """One [kind] block. index: its layer number (-1 for [net]). options: values as text, without spaces."""

    kind: str
    index: int
    line: int
    options: dict[str, str] = field(default_factory=dict)

    def error(self, problem: str) -> UserError:
        where = "" if self.index < 0 else f"layer {self.index} "
        return UserError(f"cfg line {self.line}: {where}[{self.kind}]: {problem}")

    def integer(self, key: str, default: int | None = None, minimum: int = 0) -> int:
        """The integer under `key`. Raises UserError when it is malformed, too small, or missing without a default."""
        if key not in self.options and default is None:
            raise self.error(f"{key} is missing; add {key}=...")
        text = self.options.get(key, str(default)).split("#")[0]  # darknet reads a number up to what is none
        try:
            value = int(text)
        except ValueError:
            raise self.error(f"{key}={text} is not a whole number") from None
        if value < minimum:
            raise self.error(f"{key}={value} must be at least {minimum}")
        if value > LARGEST:
            raise self.error(f"{key}={text} must be at most {LARGEST}")
        return value

    def number(self, key: str, default: float) -> float:
        """The number under `key`. Raises UserError when it is malformed or not finite."""
        values = self.numbers(key) if key in self.options else [default]
        if len(values) != 1:
            raise self.error(f"{key}={self.options[key]} is not a number")
        return values[0]

    def numbers(self, key: str) -> list[float]:
        """The comma-separated numbers under `key`; empty when absent. Raises UserError unless all are finite."""
        try:
            values = [float(v) for v in self.options.get(key, "").split("#")[0].split(",") if v]
        except ValueError:
            values = [math.nan]
        if not all(map(math.isfinite, values)):
            raise self.error(f"{key}={self.options[key]} is not a list of numbers")
        return values

    def integers(self, key: str) -> list[int]:
        """The comma-separated integers under `key`; empty when absent."""
        values = self.numbers(key)
        if any(v != int(v) for v in values):
            raise self.error(f"{key}={self.options[key]} is not a list of whole numbers")
        return [int(v) for v in values]


def parse_cfg(text: str) -> list[Section]:
    """Sections in file order: [net], then layers 0, 1, ... The first value of a repeated key counts.

    Raises UserError, with the line number, for anything else.
    """
    sections: list[Section] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = "".join(raw.split())
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            if line[-1] != "]" or len(line) < 3:
                raise UserError(f"cfg line {number}: {line[:40]!r} is not a section; write [name]")
            if len(sections) == SECTIONS:
                raise UserError(f"cfg line {number}: more than {SECTIONS} sections; give the cfg of a detector")
            name = line[1:-1]
            sections.append(Section(ALIASES.get(name, name), len(sections) - 1, number))
            continue
        key, equals, value = line.partition("=")
        if not (key and equals):
            raise UserError(f"cfg line {number}: {line[:40]!r} is neither [section] nor key=value; is it a .cfg file?")
        if not sections:
            raise UserError(f"cfg line {number}: {line[:40]!r} comes before the first section; start with [net]")
        sections[-1].options.setdefault(key, value)
    if not sections or sections[0].kind != "net":
        raise UserError("cfg: the first section must be [net]; is it a darknet .cfg file?")
    if any(s.kind == "net" for s in sections[1:]):
        raise UserError("cfg: [net] occurs twice; keep the first")
    if len(sections) == 1:
        raise UserError("cfg: there are no layers after [net]; is the file complete?")
    return sections


def read_cfg(path: str | Path) -> list[Section]:
    """Parse a .cfg file. Raises UserError naming the file."""
    text = read_text(path, errors="replace")
    try:
        return parse_cfg(text)
    except UserError as e:
        raise UserError(f"{path}: {e}") from e
