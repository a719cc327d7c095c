"""`detect --page` of photographs: one file that asks for nothing, and numbers that are the
detector's.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.drawing import detections
from helpers.pages import parsed
from helpers.tiny import NAMES, photo, run_tool, write_tiny

from spiking_yolo import SpikingYOLO
from spiking_yolo.apps.page.photographs import follow

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


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for one in value:
            yield from strings(one)
    elif isinstance(value, str):
        yield value


def test_the_page_asks_for_nothing(page):
    content = parsed(page)
    assert content.addresses == ["data:,", "#main"]
    assert not {"img", "iframe", "object", "embed", "form"} & set(content.elements)
    asks = r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket|innerHTML|eval\("
    assert not re.search(asks, page.read_text())
    images = [text for text in strings(content.data) if text.startswith(("data:", "http", "//"))]
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
    neurons = [layer["neurons"] for layer in data["layers"] if layer["neurons"]]
    for shown in data["photographs"]:
        path = weights.parent / "photos" / shown["name"]
        result = detector.detect(path, T=4, steps=range(1, 5), conf=0.3, maps=True)
        assert (shown["width"], shown["height"]) == (80, 48)
        for k, t in enumerate(data["steps"]):
            found = result.steps[t]
            boxes = np.array(shown["boxes"][k]).reshape(-1, 6)
            assert boxes[:, 5].tolist() == found.class_id.tolist()
            assert np.allclose(boxes[:, 4], found.confidence, atol=1e-3)
            assert np.allclose(boxes[:, :4], found.xyxy, atol=0.51)
        assert np.isclose(shown["operations"][-1], result.operations_per_mac, rtol=1e-3)
        assert np.isclose(shown["spikes"][-1], result.spikes, rtol=1e-3)
        received = [layer["operations"][-1] for layer in shown["layers"] if layer["operations"]]
        assert np.isclose(sum(received), result.operations["digits"], rtol=2e-3)
        sent = [layer["spikes"][-1] for layer in shown["layers"] if layer["spikes"]]
        assert np.allclose(sent, list(result.spikes_by_layer.values()), rtol=1e-3)
        assert neurons == list(result.seen.neurons_by_layer.values())
        of_ann = detector.detect_ann(path, conf=0.3)
        assert [box[5] for box in shown["ann"]] == of_ann.boxes.cls.tolist()


def test_an_object_is_followed_over_time():
    ann = detections((0, 0, 10, 10, 0.9, 0))
    faint = detections((0, 0, 10, 9, 0.1, 0))
    late = detections((50, 50, 70, 70, 0.8, 1), (0, 0, 9, 10, 0.7, 0), (0, 0, 10, 10, 0.05, 0))
    first, second = follow(ann, {1: faint, 2: detections(), 3: late}, 0.25)
    assert (first.class_id, first.ann) == (0, pytest.approx(0.9))
    assert (second.class_id, second.ann) == (1, None)
    assert first.confidence == [pytest.approx(0.1), None, pytest.approx(0.7)]
    assert second.confidence == [None, None, pytest.approx(0.8)]
