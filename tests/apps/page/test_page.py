"""`detect --page`: one file that asks for nothing; the numbers of photographs are the detector's, those
of a video the stream's.
"""

import base64
import hashlib
import io
import json
import re
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from helpers.pages import parsed
from helpers.tiny import NAMES, photo, run_tool, write_tiny
from helpers.video import read_frames, walk, write_frames
from PIL import Image

from spiking_yolo import SpikingYOLO
from spiking_yolo.apps.page import as_bytes, small_map, sprite
from spiking_yolo.data.images import Placement
from spiking_yolo.errors import Notice

NASTY = "</script><img src=x onerror=alert(1)><!--"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    found = write_tiny(folder)
    found.with_suffix(".names").write_text("\n".join((NASTY, *NAMES[1:])))
    photo(folder / "photos" / "<b>&'c'.png", 2)
    return found


@pytest.fixture(scope="module")
def page(weights) -> Path:
    path = weights.parent / "page.html"
    call = ("--page", path, "--weights", weights, "--project", weights.parent / "runs")
    assert run_tool("detect", weights.parent / "photos", *call, "--conf", 0.3, "--T", 4) == 0
    return path


def test_the_page_asks_for_nothing(page):
    content = parsed(page)
    assert content.addresses == ["data:,", "#main"]
    assert not {"img", "iframe", "object", "embed", "form"} & set(content.elements)
    asks = r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket|innerHTML|eval\("
    assert not re.search(asks, page.read_text())
    images = re.findall(r'"((?:data:|http|//)[^"]*)"', json.dumps(content.data))
    assert images and all(re.match(r"data:image/(png|jpeg);base64,", text) for text in images)


def test_a_policy_allows_this_style_and_this_program_only(page):
    content = parsed(page)
    (style,), (_, program) = content.texts["style"], content.texts["script"]
    assert "default-src 'none'; img-src data:;" in content.policy and "unsafe" not in content.policy
    for text in (style, program):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in content.policy


def test_text_of_files_cannot_become_html(page):
    content = parsed(page)
    assert content.elements.count("script") == 2 and "b" not in content.elements
    assert {one["name"] for one in content.data["photographs"]} == {"a.png", "b.png", "<b>&'c'.png"}
    assert content.data["classes"]["0"]["name"] == NASTY


def test_photographs_have_the_detectors_numbers(page, weights):
    data = parsed(page).data
    assert (data["kind"], data["steps"], data["T"]) == ("photographs", [1, 2, 3, 4], 4)
    detector = SpikingYOLO(weights)
    for shown in data["photographs"]:
        path = weights.parent / "photos" / shown["name"]
        result = detector.detect(path, T=4, steps=range(1, 5), conf=0.3)
        assert (shown["width"], shown["height"]) == (80, 48)
        for k, t in enumerate(data["steps"]):
            found = result.steps[t]
            boxes = np.array(shown["boxes"][k]).reshape(-1, 6)
            assert boxes[:, 5].tolist() == found.class_id.tolist()
            assert np.allclose(boxes[:, 4], found.confidence, atol=1e-3)
            assert np.allclose(boxes[:, :4], found.xyxy, atol=0.51)
        # Complete at T = 1: later steps cost nothing.
        for energies in shown["energy"].values():
            assert energies[0] == energies[-1]
        assert np.isclose(shown["operations"][-1], result.operations_per_mac, rtol=1e-3)
        assert np.isclose(shown["spikes"][-1], result.spikes, rtol=1e-3)
        received = [layer["operations"][-1] for layer in shown["layers"] if layer["operations"]]
        assert np.isclose(sum(received), result.operations["digits"], rtol=2e-3)
        sent = [layer["spikes"][-1] for layer in shown["layers"] if layer["spikes"]]
        assert np.allclose(sent, list(result.spikes_by_layer.values()), rtol=1e-3)
        neurons = [layer["neurons"] for layer in shown["layers"] if layer["neurons"]]
        assert neurons == list(result.seen.neurons_by_layer.values())
        assert sum(layer["macs"] for layer in shown["layers"]) == shown["macs"] == result.macs
        of_ann = detector.detect_ann(path, conf=0.3)
        assert [box[5] for box in shown["ann"]] == of_ann.boxes.cls.tolist()


@pytest.fixture
def write_page(weights, tmp_path):
    def call(*args: object) -> dict:
        path = tmp_path / "page.html"
        where = ("--page", path, "--weights", weights, "--project", tmp_path)
        assert run_tool("detect", *args, *where, "--conf", 0.3) == 0
        return parsed(path).data

    return call


def test_a_video_has_the_streams_numbers(write_page, weights, tmp_path):
    clip = write_frames(tmp_path / "clip.mp4", walk(6))
    data = write_page(clip, "--every", 2)
    frames = list(SpikingYOLO(weights).stream(clip, conf=0.3, every=2))
    assert data["frame"] == [0, 2, 4] == [one.frame for one in frames] and len(data["images"]) == 3
    assert np.allclose(data["operations"], [one.operations_per_mac for one in frames], rtol=1e-3)
    classes = [[box[5] for box in boxes] for boxes in data["boxes"]]
    assert classes == [one.boxes.cls.tolist() for one in frames]
    keys = {cost_model["key"] for cost_model in data["cost_models"]}
    assert keys == set(data["energy"]) == set(data["annEnergy"])
    # The operations of a frame are those of its layers together.
    assert [layer["title"] for layer in data["layers"]] == ["conv 2", "conv 3"]
    together = np.sum([layer["values"] for layer in data["layers"]], axis=0)
    assert np.allclose(together, data["operations"], rtol=1e-2)
    assert data["tracks"] == [] and any(data["ann"])
    # The video beside the page shows the ANN only where that is asked for.
    assert read_frames(tmp_path / "exp" / "clip.mp4")[0].shape == (48, 80, 3)


def test_frames_that_change_size(write_page, tmp_path):
    parts: list[bytes] = []
    for k, frames in enumerate((walk(3), walk(3, 64, 64))):
        with av.open(str(tmp_path / f"{k}.mpg"), "w", "mpegts") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.height, stream.width = frames[0].shape[:2]
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
            container.mux(stream.encode(None))
        parts.append((tmp_path / f"{k}.mpg").read_bytes())
    (tmp_path / "both.mpg").write_bytes(b"".join(parts))
    with pytest.warns(Notice, match="size changes"):
        assert len(write_page(tmp_path / "both.mpg")["images"]) == 6


def test_a_map_loses_its_letterbox_and_keeps_its_mean():
    rate = torch.zeros(8, 8)
    rate[2:6] = torch.tensor([[1.0, 3.0] * 4] * 4)
    # Two rows of grey above and below.
    placement = Placement((80, 40), (8, 4), (0, 2), (8, 8))
    small = small_map(rate, placement, 4)
    assert small.shape == (2, 4) and torch.equal(small, torch.full((2, 4), 2.0))
    tiles, low, high = as_bytes(torch.tensor([[[1.0, 2.0, 5.0]], [[3.0, 3.0, 3.0]]]))
    assert tiles.tolist() == [[[0, 64, 255]], [[0, 0, 0]]]
    assert (low, high) == ([1.0, 3.0], [5.0, 3.0])


def test_tiles_lie_where_the_page_looks_for_them():
    tiles = np.arange(300, dtype=np.uint8)[:, None, None].repeat(40, 1).repeat(3, 2)
    of = sprite(tiles)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(of["sprite"].partition(",")[2]))))
    assert of["columns"] == 2 and image.shape == (150 * 40, 6)
    for k in (0, 1, 149, 299):
        assert image[k // 2 * 40 + 39, k % 2 * 3] == k % 256
