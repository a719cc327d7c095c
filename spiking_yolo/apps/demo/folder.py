"""The folder of the page, with onnxruntime-web from npm, from disk or from the cache, and a web
server for it on this machine alone.
"""

import hashlib
import html
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

from spiking_yolo.apps.demo import DemoOptions
from spiking_yolo.apps.page import HTML as PLOTS
from spiking_yolo.apps.page import facts
from spiking_yolo.convert.converted import Converted
from spiking_yolo.draw.page import HTML as PAGE
from spiking_yolo.draw.page import embedded, legend
from spiking_yolo.errors import UserError, require
from spiking_yolo.io.assets import sample_clip
from spiking_yolo.io.files import atomic_write, cache_folder, regular
from spiking_yolo.options import load

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# Of the package as it was published and tried.
SHA512 = (
    "ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca"
    "590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61"
)
# The program, which includes the code that starts its threads, and the compiled kernels.
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
# Seconds.
PATIENCE = 600


def runtime_folder(chosen: Path | None) -> Path:
    """A folder that holds FILES.

    Args:
        chosen: The .tgz of `npm pack`, which must be that of VERSION, or a folder with the files or
            with the unpacked package. None: the cache, filled by npm the first time.

    Raises:
        UserError: They are not there, the file is not the published one, or npm fails.
    """
    cached = cache_folder() / f"{PACKAGE}-{VERSION}"
    if chosen is None:
        if not cached.is_dir():
            _fetch(cached)
        return cached
    if not chosen.is_dir():
        _unpack(chosen, cached)
        return cached
    for folder in (chosen, chosen / "dist", chosen / "package" / "dist"):
        if all((folder / name).is_file() for name in FILES):
            return folder
    raise UserError(
        f"{chosen} does not hold {' and '.join(FILES)}: give the folder of {PACKAGE}, or the file"
        f" of `npm pack {PACKAGE}@{VERSION}`"
    )


def _fetch(target: Path) -> None:
    """Get the package by npm, which knows where, and unpack it."""
    wanted = f"{PACKAGE}@{VERSION}"
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(
            f"{PACKAGE} is not in the cache and npm is not installed: install Node.js, or run `npm"
            f" pack {wanted}` elsewhere and give its file by --runtime"
        )
    print(f"fetching {wanted} by npm", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        call = [npm, "pack", wanted, "--ignore-scripts", "--pack-destination", folder]
        try:
            # Its own folder, so that no settings of a project beside it apply.
            subprocess.run(
                call, cwd=folder, check=True, capture_output=True, text=True, timeout=PATIENCE
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise UserError(
                f"npm cannot fetch {wanted} ({said[0] if said else error}): check the network, or"
                " give the file of `npm pack` by --runtime"
            ) from error
        _unpack(Path(folder) / f"{PACKAGE}-{VERSION}.tgz", target)


def _unpack(archive: Path, target: Path) -> None:
    """Write the FILES of the published package, and of no other, into a new folder."""
    try:
        with open(regular(archive), "rb") as file:
            digest = hashlib.file_digest(file, "sha512").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {archive}: {error.strerror}; check --runtime") from error
    if digest != SHA512:
        raise UserError(
            f"{archive} is not {PACKAGE} {VERSION} as published (its SHA-512 differs): run `npm"
            f" pack {PACKAGE}@{VERSION}` again"
        )
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=target.parent) as folder,
        tarfile.open(archive, "r:gz") as tar,
    ):
        part = Path(folder) / target.name
        part.mkdir()
        for name in FILES:
            member = tar.extractfile(f"package/dist/{name}")
            assert member is not None
            with member, open(part / name, "wb") as out:
                shutil.copyfileobj(member, out)
        part.rename(target)


# Of the page, and by the server of its worker too: nothing is loaded from elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; worker-src 'self'"
    " blob:; connect-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:"
)
# Isolated from other pages, the browser lets the network use several threads.
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-cache",
}


# What browsers insist on, whatever this machine calls it.
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}


class Handler(SimpleHTTPRequestHandler):
    """Files of one folder."""

    def guess_type(self, path: str | PathLike[str]) -> str:
        return TYPES.get(Path(path).suffix) or super().guess_type(path)

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""


def open_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server that listens at 127.0.0.1; port 0 takes any that is free.

    Raises:
        UserError: The port is in use, or not allowed.
    """
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, directory=str(folder)))
    except OSError as error:
        raise UserError(
            f"cannot serve at port {port} ({error.strerror}): give another --port"
        ) from error


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
    model = spiking_model(converted, stateful=True, boxes=options, counts=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    contents: dict[str, bytes | Path] = {
        "index.html": _page(converted, metadata, options.conf).encode(),
        "page.css": _joined(STYLE).encode(),
        "page.js": _joined(PROGRAM).encode(),
        "network.js": _joined((HTML / "network.js",)).encode(),
        "network.onnx": model.SerializeToString(),
        "clip.mp4": sample_clip(),
    }
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
    if converted.spec.task != "detect":
        raise UserError("the page draws boxes: give the weights of a detector")
    if not converted.recipe.complete:
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
