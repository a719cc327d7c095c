"""One HTML file that needs nothing else: template, style, program and data in one."""

import base64
import hashlib
import html
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from spiking_yolo.io.atomic import atomic_write
from spiking_yolo.io.json_text import finite, json_text

_FOLDER = files("spiking_yolo.studies.report") / "page"
_PROGRAM = ("dom", "chart", "energy", "boxes", "player")  # what all kinds share, in order

rounded = partial(finite, digits=4)  # numbers of a page, as short as they can be read


@dataclass(frozen=True)
class Page:
    """data: of JSON's types, with its kind in "kind": photographs, video or evaluation, as the modules that make it."""

    title: str
    data: Mapping[str, Any]

    def text(self) -> str:
        """The file. Nothing in it can load or run anything else: a policy allows its own style and program only."""
        style = _read("page.css")
        program = "\n".join(_read(f"{name}.js") for name in (*_PROGRAM, self.data["kind"]))
        parts = {
            "policy": f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(program)}",
            "title": html.escape(self.title),
            "style": style,
            "data": _embedded(self.data),
            "program": program,
        }
        before, *pieces = _read("page.html").split("{{")
        named = (piece.partition("}}") for piece in pieces)
        return before + "".join(parts[name] + after for name, _, after in named)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all. Raises UserError when the system refuses to."""
        with atomic_write(path) as temporary:
            temporary.write_text(self.text(), encoding="utf-8")


def _embedded(data: Mapping[str, Any]) -> str:
    """JSON that no text in it can end: names of files and classes may hold </script> or <!--."""
    text = json_text(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
