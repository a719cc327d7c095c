"""The darknet .cfg text format: an ordered list of sections whose names repeat."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import read_text
from spiking_yolo.models.spec import HeadSpec
from spiking_yolo.settings import LARGEST

HEADS = ("detection", "region", "yolo")


@dataclass(frozen=True)
class Section:
    """One [kind] block of a cfg.

    Attributes:
        kind: Its name.
        index: Its layer number, -1 for [net].
        line: Where it begins.
        options: Values as text, without spaces.
    """

    kind: str
    index: int
    line: int
    options: dict[str, str] = field(default_factory=dict)

    def error(self, problem: str) -> UserError:
        return UserError(f"cfg line {self.line}: layer {self.index} [{self.kind}]: {problem}")

    def integer(self, key: str, default: int = -1, minimum: int = 0) -> int:
        """The integer under `key`. Raises UserError unless it is one in the range."""
        values = self.numbers(key) or [default]
        if len(values) != 1 or not minimum <= values[0] <= LARGEST or values[0] % 1:
            said = self.options.get(key, "")
            raise self.error(f"{key}={said} must be a whole number of at least {minimum}")
        return int(values[0])

    def numbers(self, key: str) -> list[float]:
        """The comma-separated numbers under `key`; empty when it is missing.

        Raises:
            UserError: A number is malformed or not finite.
        """
        # Darknet ignores what follows the digits, such as a comment.
        text = self.options.get(key, "").split("#")[0]
        try:
            values = [float(v) for v in text.split(",") if v]
        except ValueError:
            values = [math.nan]
        if not all(map(math.isfinite, values)):
            raise self.error(f"{key}={text} is not a list of numbers")
        return values

    def integers(self, key: str) -> list[int]:
        return list(map(int, self.numbers(key)))


def parse_cfg(text: str) -> list[Section]:
    """Sections in file order: [net], then layers 0, 1, ...

    The first value of a repeated key counts.

    Raises:
        UserError: The text is no cfg; the message has the line number.
    """
    sections: list[Section] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = "".join(raw.split())
        if not line or line[0] in "#;":
            continue
        key, equals, value = line.partition("=")
        if line[0] == "[" and line[-1] == "]":
            sections.append(Section(line[1:-1], len(sections) - 1, number))
        elif key and equals and sections:
            sections[-1].options.setdefault(key, value)
        else:
            raise UserError(f"cfg line {number}: {line[:40]!r} is neither [section] nor key=value")
    if len(sections) < 2 or [s.kind for s in sections].index("net") != 0:
        raise UserError("cfg: the first section must be [net], and layers must follow")
    return sections


def read_cfg(path: str | Path) -> list[Section]:
    """Parse a .cfg file. Raises UserError naming the file."""
    text = read_text(path, errors="replace")
    try:
        return parse_cfg(text)
    except ValueError as error:
        raise UserError(f"{path} is no darknet cfg: {error}") from error


def head_spec(section: Section) -> HeadSpec:
    """The HeadSpec of a section."""
    softmax = bool(section.integer("softmax", 0))
    if section.kind == "detection":
        return HeadSpec(
            kind="yolov1",
            classes=section.integer("classes", 1, minimum=1),
            num=section.integer("num", 1, minimum=1),
            side=section.integer("side", 7, minimum=1),
            sqrt=bool(section.integer("sqrt", 0)),
            softmax=softmax,
        )
    kind = "yolov3"
    if section.kind == "region":
        kind = "yolov2"
    elif section.integer("new_coords", 0):
        # Scaled-YOLOv4 and YOLOv7: sizes as in YOLOv5.
        kind = "yolov5"
    anchors = tuple(_anchors(section))
    return HeadSpec(
        kind=kind,
        classes=section.integer("classes", 20, minimum=1),
        num=len(anchors),
        anchors=anchors,
        softmax=softmax and kind == "yolov2",
        scale=(section.numbers("scale_x_y") or [1.0])[0],
    )


def _anchors(section: Section) -> list[tuple[float, float]]:
    """The first `num` pairs (w, h) of anchors=, or those of them that mask= names."""
    num = section.integer("num", 1, minimum=1)
    values = section.numbers("anchors")
    anchors = list(zip(values[::2], values[1::2], strict=False))[:num]
    mask = section.integers("mask")
    if section.kind == "region" or not mask:
        return anchors
    if not set(mask) <= set(range(len(anchors))):
        said = f"mask={section.options['mask']} points outside the {len(anchors)} anchors"
        raise section.error(said)
    return [anchors[i] for i in mask]
