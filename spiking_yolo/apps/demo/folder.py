"""The folder of the page: HTML, style, program, network, runtime and the sample clip."""

import html
import json
import shutil
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from spiking_yolo.apps.demo import DemoOptions
from spiking_yolo.apps.demo.runtime import FILES, PACKAGE, VERSION, runtime_folder
from spiking_yolo.apps.demo.server import POLICY
from spiking_yolo.apps.page.content import HTML as PLOTS
from spiking_yolo.apps.page.content import facts
from spiking_yolo.convert.converted import Converted
from spiking_yolo.draw.page import HTML as PAGE
from spiking_yolo.draw.page import embedded, legend
from spiking_yolo.errors import UserError, require
from spiking_yolo.io.assets import sample_clip
from spiking_yolo.io.files import atomic_write
from spiking_yolo.options import load

HTML = files("spiking_yolo.apps.demo") / "html"
# Parts of the style and of the program, in order; those of pages come first.
STYLE = (PAGE / "page.css", HTML / "demo.css")
PROGRAM = (
    PAGE / "dom.js",
    PLOTS / "chart.js",
    PAGE / "boxes.js",
    *(HTML / f"{name}.js" for name in ("source", "counter", "demo")),
)
# What an earlier demo may have left in the folder.
NAMES = {"index.html", "page.css", "page.js", "network.js", "network.onnx", "clip.mp4", *FILES}


def write(options: DemoOptions) -> int:
    """Write the folder; returns the bytes of its files.

    Raises:
        UserError: The folder holds other files, the network is no detector or cannot be exported,
            or the runtime is missing.
    """
    require("onnx", "onnx")
    from spiking_yolo.onnx.model import spiking_model

    folder = options.output
    _check_folder(folder)
    converted = load(options)
    _check_network(converted)
    runtime = runtime_folder(options.runtime)
    print("writing the network, which takes up to a minute", file=sys.stderr)
    model = spiking_model(converted, stateful=True, boxes=options, counts="all")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    texts = {
        "index.html": _page(converted, metadata, options.conf),
        "page.css": _joined(STYLE),
        "page.js": _joined(PROGRAM),
        "network.js": _joined((HTML / "network.js",)),
    }
    contents: dict[str, bytes | Path] = {k: text.encode() for k, text in texts.items()}
    contents["network.onnx"] = model.SerializeToString()
    contents["clip.mp4"] = sample_clip()
    for name in FILES:
        contents[name] = runtime / name
    for name, content in contents.items():
        with atomic_write(folder / name) as temporary:
            if isinstance(content, Path):
                shutil.copyfile(content, temporary)
            else:
                temporary.write_bytes(content)
    return sum((folder / name).stat().st_size for name in contents)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder} is a file: give a folder")
    others = sorted(path.name for path in folder.glob("*") if path.name not in NAMES)
    if others:
        raise UserError(
            f"--output {folder} holds {others[0]}, which is not of a demo: give a new folder"
        )


def _check_network(converted: Converted) -> None:
    from spiking_yolo.onnx.complete import sends_complete_values

    if converted.spec.task != "detect":
        raise UserError("the page draws boxes: give the weights of a detector")
    if not sends_complete_values(converted.recipe):
        raise UserError(
            f"{converted.recipe.name} takes several timesteps for a frame: give a method that takes"
            " one, such as --method signed-digits"
        )


def _page(converted: Converted, metadata: dict[str, str], conf: float) -> str:
    spec = converted.spec
    data: dict[str, Any] = {
        **facts(converted, ()),
        "classes": legend(range(len(spec.names)), spec.names),
        "width": spec.width,
        "height": spec.height,
        "resize": spec.resize,
        "conf": conf,
        "macs": float(metadata["macs"]),
        "states": json.loads(metadata["states"]),
        "runtime": f"{PACKAGE} {VERSION}",
    }
    text = _joined((HTML / "index.html",))
    title = f"{Path(data['network']).stem} as a spiking network"
    parts = {"policy": POLICY, "title": html.escape(title), "data": embedded(data)}
    for name, part in parts.items():
        text = text.replace("{{" + name + "}}", part)
    return text


def _joined(parts: Any) -> str:
    return "\n".join(part.read_text(encoding="utf-8") for part in parts)
