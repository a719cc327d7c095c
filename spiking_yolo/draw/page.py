"""HTML that opens offline: a page with its data, style, program and pictures in one file."""

import base64
import hashlib
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np
from PIL import Image

from spiking_yolo.decode.boxes import Detections
from spiking_yolo.draw.boxes import class_colour, hexadecimal, text_colour
from spiking_yolo.io.text import json_text

# Longer side of pictures in pixels, and of those of which there are many.
SIDE, THUMBNAIL = 960, 320
QUALITY = 75
HTML = files("spiking_yolo.draw") / "html"
# Parts of the program that all pages share, in order.
PROGRAM = (HTML / "dom.js", HTML / "boxes.js", HTML / "player.js")


def html_page(title: str, data: Mapping[str, Any], program: Sequence[Traversable]) -> str:
    """A page, which can load and run nothing else: its policy allows its own style and program.

    Args:
        title: Title of the window.
        data: Content of the page, of JSON's types.
        program: Files of its own program, which follow those of PROGRAM.
    """
    style, code = joined([HTML / "page.css"]), joined([*PROGRAM, *program])
    sources = f"img-src data:; style-src {_hash(style)}; script-src {_hash(code)}"
    parts = {
        "policy": f"default-src 'none'; {sources}",
        "title": html.escape(title),
        "style": style,
        "data": embedded(data),
        "program": code,
    }
    return filled(HTML / "page.html", parts)


def filled(page: Traversable, parts: Mapping[str, str]) -> str:
    """A page with its parts in the places of their names, {{name}}."""
    text, *pieces = joined([page]).split("{{")
    for piece in pieces:
        name, _, after = piece.partition("}}")
        text += parts[name] + after
    return text


def embedded(data: Mapping[str, Any]) -> str:
    """JSON that is safe inside of HTML: names of files and classes may hold </script> or <!--."""
    text = json_text(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def joined(files: Iterable[Traversable]) -> str:
    """The text of files, one after the other."""
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def legend(used: Iterable[int], names: Sequence[str]) -> dict[str, Any]:
    """Class id -> its name, its colour, and the colour of text on that."""
    entries: dict[str, Any] = {}
    for class_id in sorted(set(used)):
        rgb = class_colour(class_id)
        colours = {"colour": hexadecimal(rgb), "ink": hexadecimal(text_colour(rgb))}
        entries[str(class_id)] = {"name": names[class_id], **colours}
    return entries


def box_rows(boxes: Detections) -> list[list[Any]]:
    """[x1, y1, x2, y2, confidence, class, track] of each box, in whole pixels of the photograph;
    without a track the last is missing.
    """
    columns = [boxes.confidence.tolist(), boxes.class_id.tolist()]
    if boxes.track_id is not None:
        columns.append(boxes.track_id.tolist())
    rows: list[list[Any]] = []
    for corners, confidence, *ids in zip(boxes.xyxy.round().int().tolist(), *columns, strict=True):
        rows.append([*corners, round(confidence, 3), *ids])
    return rows


def data_uri(content: bytes, kind: str) -> str:
    """A picture as text. kind: "jpeg" or "png"."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def picture_uri(pixels: np.ndarray, side: int = SIDE) -> str:
    """uint8 [H, W, 3] RGB as the text of a JPEG whose longer side has at most `side` pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    content = io.BytesIO()
    image.save(content, "jpeg", quality=QUALITY, optimize=True, progressive=True)
    return data_uri(content.getvalue(), "jpeg")
