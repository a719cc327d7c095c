"""The server of `examples/`: its answers, what it refuses, and many clients at once."""

import io
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from helpers.video import walk, write_frames
from PIL import Image

from spiking_yolo import SpikingYOLO

for module in ("fastapi", "httpx", "python_multipart", "uvicorn"):
    pytest.importorskip(module, reason="the server needs the extra examples, and httpx")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("clip") / "clip.mp4", walk(4))


@pytest.fixture(scope="module")
def client(weights, clip):
    from fastapi.testclient import TestClient

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEIGHTS", str(weights))
        patch.setenv("SOURCE", str(clip))
        yield TestClient(runpy.run_path(str(ROOT / "examples" / "server.py"))["app"])


def send(client, where: str, content: bytes, **query: object):
    return client.post(where, params=query, files={"file": ("a.png", content)})


def test_a_photograph_gives_its_boxes(client, weights, photo):
    result = SpikingYOLO(weights).detect(photo, conf=0.4)
    answer = send(client, "/detect", photo.read_bytes(), conf=0.4)
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    expected = json.loads(result.to_json())
    assert answer.json() == {**expected, "image": None} and expected["detections"]


def test_a_stream_gives_every_frame(client, weights, clip):
    answer = client.get("/stream", params={"every": 2, "conf": 0.4})
    assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
    start, *frames = answer.content.split(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n")
    results = list(SpikingYOLO(weights).stream(clip, every=2, conf=0.4))
    assert start == b"" and len(frames) == len(results) == 2
    for frame, result in zip(frames, results, strict=True):
        picture = np.asarray(Image.open(io.BytesIO(frame))).astype(int)
        assert np.abs(picture - result.plot()).mean() < 12


def test_what_is_refused(client, photo):
    content = photo.read_bytes()
    for bad in (b"", b"no picture", content[: len(content) // 2]):
        answer = send(client, "/detect", bad)
        assert answer.status_code == 422
        assert answer.json()["detail"] == "a.png is no photograph: send a JPEG or PNG"
    for where in ("/detect", "/picture"):
        answer = send(client, where, content, conf=7)
        assert answer.status_code == 422 and "conf" in answer.json()["detail"]
    assert client.get("/stream", params={"every": 0}).status_code == 422
    assert client.post("/detect").status_code == 422
    # And the next one is answered.
    assert send(client, "/detect", content).status_code == 200
