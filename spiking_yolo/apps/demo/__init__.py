"""Write a page that detects in the browser: the spiking network on a webcam, a video or a
photograph, by onnxruntime-web, which comes from npm, from disk or from the cache.
"""

import hashlib
import html
import io
import json
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from spiking_yolo.errors import UserError, require
from spiking_yolo.io.files import atomic_write, cache_folder, read_bytes, sample_clip
from spiking_yolo.io.text import reason
from spiking_yolo.options import DetectionOptions, MethodOptions

if TYPE_CHECKING:
    from spiking_yolo.convert.load import Converted


@dataclass(frozen=True, kw_only=True)
class DemoOptions(MethodOptions, DetectionOptions):
    """The network, and where its page goes."""

    output: Annotated[Path, Parameter(alias="-o")]
    """Folder to write: a new one, or that of an earlier demo."""
    runtime: Path | None = None
    """Onnxruntime-web from disk, the file of `npm pack` (default: by npm)."""
    weights: Path | None = Path("yolo-fastest")
    """Darknet .weights, .safetensors, a .pt of YOLOv5 or Ultralytics, or a name of spiking-yolo
    list; small networks are faster.
    """


def main(options: DemoOptions) -> None:
    """Write a page that detects in the browser: the spiking network on a webcam, a video or a
    photograph, by onnxruntime-web.

    ```
    spiking-yolo demo -o folder
    spiking-yolo demo -o folder --weights yolo-fastest-xl
    spiking-yolo demo -o folder --runtime onnxruntime-web-1.30.0.tgz
    ```

    The page shows boxes, how many operations the network needs per multiply-accumulate of the ANN
    in every frame, and where events happen. All its files lie in the folder, which any web server
    can serve: nothing is fetched from elsewhere, and no picture leaves the browser. The network
    keeps its state from frame to frame. The command needs the extra "onnx", and onnxruntime-web,
    from npm or --runtime. Browsers open cameras and modules only at https:// and
    http://localhost, not from a file: `python -m http.server` serves the folder there.
    """
    size = write(options)
    print(f"page saved to {options.output}, {size / 1e6:.1f} MB")
    folder = shlex.quote(str(options.output))
    print(f"to see it: python -m http.server --bind localhost --directory {folder}")
    print("then open http://localhost:8000 in a browser")


PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# The checksum of the package as it was published and tried.
SHA512 = (
    "ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca"
    "590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61"
)
# The program, which includes the code that starts its threads, and the compiled kernels.
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
# npm may take so many seconds.
PATIENCE = 600


def runtime(chosen: Path | None) -> dict[str, bytes]:
    """The FILES of the published package, by name.

    Args:
        chosen: The .tgz of `npm pack`; None: the cache, filled by npm the first time.

    Raises:
        UserError: The file is not the published one, or npm fails.
    """
    archive = chosen or cache_folder() / f"{PACKAGE}-{VERSION}.tgz"
    if chosen is None and not archive.is_file():
        _fetch(archive)
    content = read_bytes(archive)
    if hashlib.sha512(content).hexdigest() != SHA512:
        raise UserError(
            f"{archive} is not {PACKAGE} {VERSION} as published (its SHA-512 differs): remove it,"
            f" or give the file of `npm pack {PACKAGE}@{VERSION}` by --runtime"
        )
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        for name in FILES:
            member = tar.extractfile(f"package/dist/{name}")
            assert member is not None
            found[name] = member.read()
    return found


def _fetch(target: Path) -> None:
    """Get the package by npm, which knows where."""
    wanted = f"{PACKAGE}@{VERSION}"
    print(f"fetching {wanted} by npm", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder, atomic_write(target) as temporary:
        call = ["npm", "pack", wanted, "--ignore-scripts", "--pack-destination", folder]
        try:
            # npm runs in a folder of its own, so that no settings of a project beside it apply.
            subprocess.run(call, cwd=folder, check=True, capture_output=True, timeout=PATIENCE)
        except (OSError, subprocess.SubprocessError) as error:
            raise UserError(
                f"npm cannot fetch {wanted} ({reason(error)}): install Node.js, or run `npm pack"
                f" {wanted}` elsewhere and give its file by --runtime"
            ) from error
        shutil.copyfile(Path(folder) / f"{PACKAGE}-{VERSION}.tgz", temporary)


# The page may load nothing from elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; worker-src 'self'"
    " blob:; connect-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:"
)
# Paths, since their packages would be imported for every command.
ROOT = files("spiking_yolo")
HTML, PAGE = ROOT / "apps" / "demo" / "html", ROOT / "draw" / "html"
# Parts of the style and of the program, in order; those of pages come first.
STYLE = (PAGE / "page.css", HTML / "demo.css")
PROGRAM = (
    PAGE / "dom.js",
    ROOT / "apps" / "page" / "html" / "chart.js",
    PAGE / "boxes.js",
    *(HTML / f"{name}.js" for name in ("source", "counter", "demo")),
)
# Files that an earlier demo may have left in the folder.
NAMES = {"index.html", "page.css", "page.js", "network.js", "network.onnx", "clip.mp4", *FILES}


def write(options: DemoOptions) -> int:
    """Write the folder; returns the bytes of its files.

    Raises:
        UserError: The folder holds other files, the network is no detector or cannot be exported,
            or the runtime is missing.
    """
    require("onnx", "onnx")
    from spiking_yolo.draw.page import joined
    from spiking_yolo.onnx.model import spiking_model

    folder = options.output
    if folder.is_file():
        raise UserError(f"--output {folder} is a file: give a new folder")
    others = sorted(path.name for path in folder.glob("*") if path.name not in NAMES)
    if others:
        problem = f"--output {folder} holds {others[0]}, which is not of a demo"
        raise UserError(f"{problem}: give a new folder")
    converted = options.convert()
    if converted.spec.task != "detect":
        raise UserError("the page draws boxes: give the weights of a detector")
    files = runtime(options.runtime)
    print("writing the network, which takes about a minute", file=sys.stderr)
    model = spiking_model(converted, stateful=True, boxes=options.selection(), counts=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    files |= {
        "index.html": _page(converted, metadata, options.conf).encode(),
        "page.css": joined(STYLE).encode(),
        "page.js": joined(PROGRAM).encode(),
        "network.js": joined([HTML / "network.js"]).encode(),
        "network.onnx": model.SerializeToString(),
        "clip.mp4": sample_clip().read_bytes(),
    }
    for name, content in files.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(content)
    return sum(map(len, files.values()))


def _page(converted: "Converted", metadata: dict[str, str], conf: float) -> str:
    from spiking_yolo.apps.page import facts
    from spiking_yolo.draw.page import embedded, filled, legend

    spec = converted.spec
    data: dict[str, Any] = {
        **facts(converted),
        "classes": legend(range(len(spec.names)), spec.names),
        "width": spec.width,
        "height": spec.height,
        "resize": spec.resize,
        "conf": conf,
        "macs": float(metadata["macs"]),
        "states": json.loads(metadata["states"]),
        "runtime": f"{PACKAGE} {VERSION}",
    }
    title = f"{Path(data['network']).stem} as a spiking network"
    parts = {"policy": POLICY, "title": html.escape(title), "data": embedded(data)}
    return filled(HTML / "index.html", parts)
