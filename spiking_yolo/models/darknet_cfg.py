"""The darknet .cfg text format: an ordered list of sections whose names repeat."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import read_text
from spiking_yolo.models.spec import BOXES, HeadSpec
from spiking_yolo.settings import LARGEST

# Limit; YOLOv4's largest cfg has a tenth of it.
SECTIONS = 2000
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
        where = f"cfg line {self.line}:"
        if self.index >= 0:
            where += f" layer {self.index}"
        return UserError(f"{where} [{self.kind}]: {problem}")

    def integer(self, key: str, default: int | None = None, minimum: int = 0) -> int:
        """The integer under `key`.

        Raises:
            UserError: It is malformed, out of range, or missing without a default.
        """
        if key not in self.options and default is None:
            raise self.error(f"{key} is missing; add {key}=...")
        # Darknet ignores what follows the digits, such as a comment.
        text = self.options.get(key, str(default)).split("#")[0]
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
        if key not in self.options:
            return default
        values = self.numbers(key)
        if len(values) != 1:
            raise self.error(f"{key}={self.options[key]} is not a number")
        return values[0]

    def numbers(self, key: str) -> list[float]:
        """The comma-separated numbers under `key`; empty when it is missing.

        Raises:
            UserError: A number is malformed or not finite.
        """
        try:
            values = [float(v) for v in self.options.get(key, "").split("#")[0].split(",") if v]
        except ValueError:
            values = [math.nan]
        if not all(map(math.isfinite, values)):
            raise self.error(f"{key}={self.options[key]} is not a list of numbers")
        return values

    def integers(self, key: str) -> list[int]:
        """The comma-separated integers under `key`; empty when it is missing."""
        values = self.numbers(key)
        whole = list(map(int, values))
        if whole != values:
            raise self.error(f"{key}={self.options[key]} is not a list of whole numbers")
        return whole


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
        if line[0] == "[":
            if line[-1] != "]" or len(line) < 3:
                raise UserError(f"cfg line {number}: {line[:40]!r} is not a section; write [name]")
            if len(sections) == SECTIONS:
                raise UserError(
                    f"cfg line {number}: more than {SECTIONS} sections; give the cfg of a detector"
                )
            name = ALIASES.get(line[1:-1], line[1:-1])
            if name == "net" and sections:
                raise UserError(f"cfg line {number}: [net] occurs twice; keep the first")
            sections.append(Section(name, len(sections) - 1, number))
            continue
        key, equals, value = line.partition("=")
        if not (key and equals):
            raise UserError(
                f"cfg line {number}: {line[:40]!r} is neither [section] nor key=value; is it a .cfg"
                " file?"
            )
        if not sections:
            raise UserError(
                f"cfg line {number}: {line[:40]!r} comes before the first section; start with [net]"
            )
        sections[-1].options.setdefault(key, value)
    if not sections or sections[0].kind != "net":
        raise UserError("cfg: the first section must be [net]; is it a darknet .cfg file?")
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


HEADS = ("detection", "region", "yolo")
# Of AlexeyAB's fork alone: keys of a head, and of [net].
FORK_KEYS = frozenset(
    {"scale_x_y", "new_coords", "iou_loss", "iou_normalizer", "cls_normalizer", "nms_kind"}
)
FORK_NET_KEYS = frozenset({"letter_box", "mosaic", "cutmix"})
# Of a box that anchors= does not reach: in pixels for [yolo], in cells for [region].
DEFAULT_ANCHOR = (0.5, 0.5)


def head_spec(section: Section) -> HeadSpec:
    """The HeadSpec of a section. Raises UserError for options whose decoding is not supported."""
    required = section.kind == "detection" and "coords" not in section.options
    if required or section.integer("coords", 4) != 4:
        raise section.error("only coords=4 is supported")
    if section.kind == "detection":
        return HeadSpec(
            kind="yolov1",
            classes=section.integer("classes", 1, minimum=1),
            num=section.integer("num", 1, minimum=1),
            side=section.integer("side", 7, minimum=1),
            sqrt=bool(section.integer("sqrt", 0)),
            softmax=bool(section.integer("softmax", 0)),
        )
    return _anchored(section)


def _anchored(section: Section) -> HeadSpec:
    for key, neutral in (("tree", ""), ("background", "0")):
        if section.options.get(key, neutral) not in (neutral, f"{neutral}.0"):
            raise section.error(f"{key} is not supported; use a plain yolov2/yolov3 cfg")
    anchors = _anchors(section)
    num = len(anchors)
    if section.kind == "yolo":
        mask = section.integers("mask") or list(range(num))
        if not set(mask) <= set(range(num)):
            raise section.error(f"mask={section.options['mask']} points outside the {num} anchors")
        anchors = [anchors[i] for i in mask]
    region = section.kind == "region"
    kind = "yolov3"
    if region:
        kind = "yolov2"
    elif section.number("new_coords", 0.0):
        # Scaled-YOLOv4 and YOLOv7: sizes as in YOLOv5.
        kind = "yolov5"
    scale = section.number("scale_x_y", 1.0)
    if scale < 1:
        raise section.error(f"scale_x_y={scale:g} must be at least 1")
    return HeadSpec(
        kind=kind,
        classes=section.integer("classes", 20, minimum=1),
        num=len(anchors),
        anchors=tuple(anchors),
        softmax=region and bool(section.integer("softmax", 0)),
        scale=scale,
    )


def _anchors(section: Section) -> list[tuple[float, float]]:
    """`num` pairs (w, h): the first ones in anchors=, then darknet's default."""
    num = section.integer("num", 1, minimum=1)
    if num > BOXES:
        raise section.error(f"num={num} must be at most {BOXES}")
    values = section.numbers("anchors")
    if len(values) % 2:
        raise section.error(
            f"anchors= needs a width and a height each, not {len(values)} numbers in all"
        )
    if values and min(values) <= 0:
        raise section.error(
            f"an anchor of {min(values):g} has no size; give widths and heights above 0"
        )
    anchors = list(zip(values[::2], values[1::2], strict=True))[:num]
    return anchors + [DEFAULT_ANCHOR] * (num - len(anchors))
