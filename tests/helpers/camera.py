"""A camera on the loopback, which sends MJPEG over HTTP as a test tells it to."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

# What a connection does: it calls the function with each frame that it sends, until it returns.
Script = Callable[[Callable[[np.ndarray | bytes], None]], None]


def jpeg(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "jpeg")
    return content.getvalue()


@contextmanager
def camera(*scripts: Script) -> Iterator[str]:
    """Yield the address of a camera: the k-th connection runs the k-th script, later ones are
    refused.
    """
    left, lock = list(scripts), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with lock:
                script = left.pop(0) if left else None
            if script is None:
                return self.send_error(503)
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()

            def send(frame: np.ndarray | bytes) -> None:
                content = frame if isinstance(frame, bytes) else jpeg(frame)
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}"
                self.wfile.write(head.encode() + b"\r\n\r\n" + content + b"\r\n")

            script(send)
            # FFmpeg takes a part for whole when it sees the next line.
            self.wfile.write(b"--frame--\r\n")

        def log_message(self, *_: object) -> None:
            pass

        def log_error(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://user:secret@127.0.0.1:{server.server_port}/video"
    finally:
        server.shutdown()
        server.server_close()
