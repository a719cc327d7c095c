"""A web server for the folder, on this machine alone."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from os import PathLike
from pathlib import Path

from spiking_yolo.errors import UserError

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
