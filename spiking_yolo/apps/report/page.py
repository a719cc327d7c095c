"""A page: one HTML file with its data, style, program and pictures, which opens offline."""

import base64
import hashlib
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from spiking_yolo.convert.converted import Converted
from spiking_yolo.data.images import Placement
from spiking_yolo.draw.colours import (
    ACCOUNT_COLOURS,
    class_colour,
    hexadecimal,
    text_colour,
)
from spiking_yolo.draw.overlay import map_on_image
from spiking_yolo.io.files import atomic_write
from spiking_yolo.io.json import finite, json_text
from spiking_yolo.io.names import size_name
from spiking_yolo.metrics.energy import Account, every_account
from spiking_yolo.options import command_line, versions

ACCOUNTS = {
    "fp32": "32-bit float, and its ANN; computing alone",
    "int8": "8-bit weights and an 8-bit ANN, 32-bit sums; computing alone",
    "sram16": "8 bit, every access to memory paid, 16-bit potentials",
    "sram32": "8 bit, every access to memory paid, 32-bit potentials",
    "reuse": "8 bit, each byte moved once per pass",
    "loihi": "SANA-FE's energies per event of Loihi, 14 nm: a lower bound; no ANN runs on it",
}

# Longer side in pixels and quality of JPEGs, the best first.
PHOTOGRAPHS = ((1280, 85), (1120, 80), (960, 75), (800, 70), (640, 60), (480, 50), (320, 40))
THUMBNAILS = ((480, 70), (400, 60), (320, 50), (256, 45), (192, 40), (128, 35))

# Pixels; browsers do not draw a higher PNG.
PNG_HEIGHT = 8192
HTML = files("spiking_yolo.apps.report") / "html"
# Parts of the program that all kinds of pages share, in order.
PROGRAM = ("dom", "chart", "energy", "boxes", "player")

# Numbers of a page: at most four digits.
rounded = partial(finite, digits=4)


def facts(converted: Converted, charged: Sequence[Account] = every_account()) -> dict[str, Any]:
    """Network, method, accounts of energy, and what made the page."""
    spec, recipe = converted.spec, converted.recipe
    return {
        "network": converted.provenance.get("weights", "a network"),
        "input": size_name((spec.height, spec.width)),
        "method": recipe.title,
        "counting": recipe.counting,
        "settings": asdict(recipe),
        "accounts": [_account(account) for account in charged],
        "date": date.today().isoformat(),
        "command": command_line(),
        "versions": versions(),
    }


def _account(account: Account) -> dict[str, str]:
    return {
        "key": account.key,
        "name": account.name,
        "meaning": ACCOUNTS[account.key],
        "colour": ACCOUNT_COLOURS[account.name],
    }


def legend(used: Iterable[int], names: Sequence[str]) -> dict[str, Any]:
    """Class id -> its name, its colour, and the colour of text on that."""
    entries: dict[str, Any] = {}
    for class_id in sorted(set(used)):
        rgb = class_colour(class_id)
        entries[str(class_id)] = {
            "name": names[class_id],
            "colour": hexadecimal(rgb),
            "ink": hexadecimal(text_colour(rgb)),
        }
    return entries


@dataclass(frozen=True)
class Page:
    """A page, ready to be written.

    Attributes:
        title: Of the window.
        data: Of JSON's types. Its "kind" is that of the page: photographs, video or evaluation.
    """

    title: str
    data: Mapping[str, Any]

    def text(self) -> str:
        """The HTML. It cannot load or run anything else: its policy allows its own style and
        program only.
        """
        style = _read("page.css")
        program = "\n".join(_read(f"{name}.js") for name in (*PROGRAM, self.data["kind"]))
        parts = {
            "policy": (
                f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src"
                f" {_hash(program)}"
            ),
            "title": html.escape(self.title),
            "style": style,
            "data": embedded(self.data),
            "program": program,
        }
        text, *pieces = _read("page.html").split("{{")
        for piece in pieces:
            name, _, after = piece.partition("}}")
            text += parts[name] + after
        return text

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            UserError: It cannot be written.
        """
        with atomic_write(path) as temporary:
            temporary.write_text(self.text(), encoding="utf-8")


def embedded(data: Mapping[str, Any]) -> str:
    """JSON that is safe inside of HTML: names of files and classes may hold </script> or <!--."""
    text = json_text(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return (HTML / name).read_text(encoding="utf-8")


def data_uri(content: bytes, kind: str) -> str:
    """A picture as text. kind: "jpeg" or "png"."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def jpeg(pixels: np.ndarray, side: int, quality: int) -> bytes:
    """uint8 [H, W, 3] RGB as a JPEG whose longer side has at most `side` pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    content = io.BytesIO()
    image.save(content, "jpeg", quality=quality, optimize=True, progressive=True)
    return content.getvalue()


def photograph(pixels: np.ndarray, budget: int) -> str:
    """The best JPEG of PHOTOGRAPHS whose data URI has at most `budget` characters, or the
    smallest.
    """
    uri = ""
    for side, quality in PHOTOGRAPHS:
        uri = data_uri(jpeg(pixels, side, quality), "jpeg")
        if len(uri) <= budget:
            break
    return uri


def thumbnails(frames: Sequence[bytes], budget: int) -> list[str]:
    """Data URIs of JPEGs, made smaller until all together have at most `budget` characters.

    frames: JPEGs of the first size of THUMBNAILS.
    """
    for side, quality in THUMBNAILS[1:]:
        # base64 makes four characters of three bytes.
        if sum(map(len, frames)) * 4 / 3 <= budget:
            break
        pictures = [np.asarray(Image.open(io.BytesIO(frame))) for frame in frames]
        frames = [jpeg(picture, side, quality) for picture in pictures]
    return [data_uri(frame, "jpeg") for frame in frames]


def sprite(tiles: np.ndarray) -> dict[str, Any]:
    """Tiles uint8 [n, h, w], row by row in one grey PNG, in which equal tiles cost next to nothing.

    Returns:
        The PNG, size of a tile, and "columns": tiles side by side, more than one if the PNG would
        be higher than PNG_HEIGHT.
    """
    n, height, width = tiles.shape
    columns = -(-n * height // PNG_HEIGHT)
    rows = -(-n // columns)
    grid = np.zeros((rows * columns, height, width), np.uint8)
    grid[:n] = tiles
    whole = (
        grid.reshape(rows, columns, height, width)
        .swapaxes(1, 2)
        .reshape(rows * height, columns * width)
    )
    content = io.BytesIO()
    Image.fromarray(whole).save(content, "png", optimize=True)
    return {
        "sprite": data_uri(content.getvalue(), "png"),
        "width": width,
        "height": height,
        "columns": columns,
    }


def small_map(rate: Tensor, placement: Placement, side: int) -> Tensor:
    """A map [h, w] of the network's input, cut to the photograph, with at most `side` cells on its
    longer side. Cells are averaged, so that the mean stays.
    """
    part = map_on_image(rate, placement)
    scale = min(1.0, side / max(part.shape))
    height, width = (max(1, round(n * scale)) for n in part.shape)
    return adaptive_avg_pool2d(part[None], (height, width))[0]


def as_bytes(maps: Tensor) -> tuple[np.ndarray, list[float], list[float]]:
    """Scale each map of [n, h, w] to uint8, from 0 at its smallest value to 255 at its largest.

    Returns:
        The scaled maps, the smallest and the largest values.
    """
    low, high = maps.flatten(1).aminmax(dim=1)
    scaled = (maps - low[:, None, None]) / (high - low).clamp(min=1e-30)[:, None, None]
    return (255 * scaled).round().to(torch.uint8).numpy(), low.tolist(), high.tolist()
