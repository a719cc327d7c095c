"""The page of `spiking-yolo demo` in a real browser: a camera that shows a clip and then stands
still, and everything that can go wrong, in one sentence each.
"""

import base64
import hashlib
import shutil
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import pytest
import torch
from helpers.chromium import NEEDS_BROWSER, Browser, browser
from helpers.tiny import run_tool

from spiking_yolo import SpikingYOLO
from spiking_yolo.apps.demo import runtime
from spiking_yolo.data.images import place, preprocess, read_image
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import sample_clip, samples_folder
from spiking_yolo.models.spec import Spec
from spiking_yolo.spikes.counting import Counts

pytestmark = NEEDS_BROWSER
# Runs a network on bytes, red, green and blue, one plane each; the SHA-256 of its outputs by name.
HASHED = """(async () => {
  const ort = await import("./ort.wasm.bundle.min.mjs");
  const network = new Uint8Array(await (await fetch("heads.onnx")).arrayBuffer());
  const session = await ort.InferenceSession.create(network, { executionProviders: ["wasm"] });
  const images = Float32Array.from(atob("%s"), (letter) => letter.charCodeAt(0) / 255);
  const shape = [1, 3, %d, %d];
  const found = await session.run({ images: new ort.Tensor("float32", images, shape) });
  const names = session.outputNames.filter((name) => /^(head_|events\\.)/.test(name)).sort();
  const values = names.flatMap((name) => Array.from(found[name].data));
  const all = Float32Array.from(values, (value) => value + 0);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", all));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
})()"""
# Seconds in which a slow machine computes a few frames.
PATIENCE = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("onnx")
    try:
        runtime(None)
    except UserError as error:
        pytest.skip(str(error))
    path = tmp_path_factory.mktemp("demo") / "page"
    assert run_tool("demo", "-o", path) == 0
    assert sum(file.stat().st_size for file in path.iterdir()) < 20e6
    return path


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """Two seconds of the sample clip, then eight of its last frame, as a camera gives them: y4m."""
    path = tmp_path_factory.mktemp("camera") / "camera.y4m"
    clip = cv2.VideoCapture(str(sample_clip()))
    clip.set(cv2.CAP_PROP_POS_FRAMES, 12)
    frames = []
    for _ in range(20):
        frame = cv2.resize(clip.read()[1], (512, 288), interpolation=cv2.INTER_AREA)
        frames.append(b"FRAME\n" + cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420).tobytes())
    header = b"YUV4MPEG2 W512 H288 F10:1 Ip A1:1 C420jpeg\n"
    path.write_bytes(header + b"".join(frames) + 80 * frames[-1])
    return path


@pytest.fixture(scope="module")
def chromium(camera):
    flags = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
    )
    with browser(*flags) as one:
        yield one


@pytest.fixture
def serve():
    """A function that serves a folder and returns its address."""
    servers = []

    def start(path: Path) -> str:
        handler = partial(SimpleHTTPRequestHandler, directory=str(path))
        http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        servers.append(http)
        return f"http://localhost:{http.server_port}/"

    yield start
    for http in servers:
        http.shutdown()
        http.server_close()


def said(chromium: Browser, name: str) -> str:
    return chromium.value(f"document.getElementById('{name}').textContent")


def press(chromium: Browser, name: str) -> None:
    chromium.value(f"document.getElementById('{name}').click()")


def wait(chromium: Browser, expression: str) -> None:
    """Until JavaScript says so; a problem that nobody waits for is an error at once."""
    end = time.monotonic() + PATIENCE
    while not chromium.value(expression):
        problem = said(chromium, "problem")
        assert not problem or "problem" in expression, problem
        assert time.monotonic() < end, (expression, chromium.errors)
        time.sleep(0.1)


def wait_until_ready(chromium: Browser) -> None:
    wait(chromium, "document.body.dataset.ready === 'yes'")


def test_a_camera_that_stands_still(chromium, serve, folder):
    address = serve(folder)
    chromium.requests.clear()
    chromium.errors.clear()
    chromium.open(address)
    wait_until_ready(chromium)
    press(chromium, "camera")
    wait(chromium, "document.getElementById('boxes').textContent.includes('person')")
    assert chromium.value("document.querySelectorAll('.stage svg rect').length") >= 3
    # The first frame sends everything; when nothing moves, next to nothing is sent.
    first = float(said(chromium, "first"))
    assert 1.2 < first < 1.6
    wait(chromium, "Number(document.getElementById('operations').textContent) < 0.01")
    assert "person" in said(chromium, "boxes")
    press(chromium, "heat")
    assert float(said(chromium, "rate")) > 0
    press(chromium, "run")
    assert said(chromium, "run") == "Start"
    seen = said(chromium, "operations")
    time.sleep(0.5)
    assert said(chromium, "operations") == seen
    tracks = "source.element.srcObject.getTracks().map((track) => track.readyState)"
    assert chromium.value(tracks) == ["ended"]
    assert chromium.errors == []
    assert {url.partition("?")[0] for url in chromium.requests if url.startswith(address)} >= {
        f"{address}{name}" for name in ("network.js", "network.onnx")
    }
    assert all(url.startswith((address, "blob:", "data:")) for url in chromium.requests)


def test_the_bits_of_heads_and_events_are_those_of_python(chromium, serve, folder, tmp_path):
    onnx = pytest.importorskip("onnx")
    from spiking_yolo.onnx.model import spiking_model

    converted = SpikingYOLO("yolo-fastest").converted
    part = tmp_path / "part"
    shutil.copytree(folder, part)
    onnx.save(spiking_model(converted, counts=True), part / "heads.onnx")
    pixels = preprocess(read_image(samples_folder() / "dog.jpg"), converted.spec)[0]
    counted = converted.network().start().step(pixels[None], maps=True)
    outputs = {f"head_{k}": head for k, head in enumerate(counted.outputs)}
    for name, counts in counted.maps.items():
        outputs[f"events.{name}"] = torch.cat(Counts.unstacked(counts), 1)
    hashed = hashlib.sha256()
    for name in sorted(outputs):
        hashed.update((outputs[name] + 0.0).contiguous().numpy().tobytes())
    chromium.open(serve(part))
    wait_until_ready(chromium)
    written = base64.b64encode(pixels.contiguous().numpy().tobytes()).decode()
    assert chromium.value(HASHED % (written, *pixels.shape[1:])) == hashed.hexdigest()


def test_pictures_are_placed_as_by_detect(chromium, serve, folder):
    chromium.open(serve(folder))
    for resize in ("letterbox", "letterbox-114", "stretch"):
        spec = Spec("detect", ("cat",), 416, 320, resize)
        for width, height in ((768, 432), (432, 768), (640, 480), (3, 2000), (511, 333)):
            changed = f"Object.assign(data, {{resize: '{resize}', width: 320, height: 416}})"
            answer = chromium.value(f"{changed}; place({width}, {height})")
            expected = place(width, height, spec)
            assert (answer["width"], answer["height"]) == expected.resized
            assert (answer["left"], answer["top"]) == expected.pad
