"""What every page says: which network and method, by which command, and the colours of classes."""

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from spiking_yolo.convert.converted import Converted
from spiking_yolo.draw.boxes import class_colour, hexadecimal, text_colour
from spiking_yolo.io.files import atomic_write
from spiking_yolo.io.json import finite, json_text
from spiking_yolo.io.names import size_name
from spiking_yolo.metrics.energy import Account, accounts
from spiking_yolo.options import command_line, versions

ACCOUNTS = {
    "fp32": "32-bit float, and its ANN; computing alone",
    "int8": "8-bit weights and an 8-bit ANN, 32-bit sums; computing alone",
    "sram16": "8 bit, every access to memory paid, 16-bit potentials",
    "sram32": "8 bit, every access to memory paid, 32-bit potentials",
    "reuse": "8 bit, each byte moved once per pass",
}


def facts(converted: Converted, charged: Sequence[Account] = accounts()) -> dict[str, Any]:
    """Network, method, accounts of energy, and what made the page."""
    spec, recipe = converted.spec, converted.recipe
    return {
        "network": converted.provenance.get("weights", "a network"),
        "input": size_name((spec.height, spec.width)),
        "method": recipe.name,
        "counting": recipe.counting,
        "settings": asdict(recipe),
        "accounts": [{"key": a.key, "name": a.name, "meaning": ACCOUNTS[a.key]} for a in charged],
        "date": date.today().isoformat(),
        "command": command_line(),
        "versions": versions(),
    }


def legend(used: Iterable[int], names: Sequence[str]) -> dict[str, Any]:
    """Class id -> its name, its colour, and the colour of text on that."""
    colours = {c: class_colour(c) for c in sorted(set(used))}
    return {
        str(c): {"name": names[c], "colour": hexadecimal(rgb), "ink": hexadecimal(text_colour(rgb))}
        for c, rgb in colours.items()
    }


_FOLDER = files("spiking_yolo.apps.report") / "html"
_PROGRAM = ("dom", "chart", "energy", "boxes", "player")  # what all kinds share, in order

# Numbers of a page, as short as they can be read.
rounded = partial(finite, digits=4)


@dataclass(frozen=True)
class Page:
    """data: of JSON's types, with its kind in "kind": photographs, video or evaluation, as the
    modules that make it.
    """

    title: str
    data: Mapping[str, Any]

    def text(self) -> str:
        """The file. Nothing in it can load or run anything else: a policy allows its own style and
        program only.
        """
        style = _read("page.css")
        program = "\n".join(_read(f"{name}.js") for name in (*_PROGRAM, self.data["kind"]))
        parts = {
            "policy": (
                f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src"
                f" {_hash(program)}"
            ),
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
