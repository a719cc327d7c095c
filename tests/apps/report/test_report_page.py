"""`spiking-yolo report` without a browser: one file that asks for nothing, and numbers that are the
detector's.
"""

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.drawing import detections
from helpers.evaluating import make_scene
from helpers.pages import parsed
from helpers.tiny import ANYTHING, NAMES, photo, run_tool, write_tiny
from helpers.video import walk, write_frames
from PIL import Image

from spiking_yolo import SpikingYOLO, UserError
from spiking_yolo.apps.report import ReportOptions, report
from spiking_yolo.apps.report.evaluation import difference
from spiking_yolo.apps.report.page import (
    as_bytes,
    report_page,
    rounded,
    small_map,
    sprite,
    thumbnails,
)
from spiking_yolo.apps.report.photographs import follow, slider_steps
from spiking_yolo.data.images import Placement
from spiking_yolo.draw.page import jpeg, photograph

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
    assert (
        run_tool("report", weights.parent / "photos", *ANYTHING, "--weights", weights, "-o", path)
        == 0
    )
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
    assert not re.search(
        r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket|innerHTML|eval\(", page.read_text()
    )
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
    text = report_page("<b>&", {"kind": "video", "x": "<!-- </SCRIPT \u2028"}).text()
    assert (
        "<title>&lt;b&gt;&amp;</title>" in text and "</SCRIPT" not in text and "\u2028" not in text
    )


def test_photographs_have_the_detectors_numbers(page, weights):
    data = parsed(page).data
    assert (data["kind"], data["steps"], data["T"]) == ("photographs", [1, 2, 3, 4], 4)
    detector = SpikingYOLO(weights)
    for shown in data["photographs"]:
        result = detector.detect(
            weights.parent / "photos" / shown["name"], T=4, steps=range(1, 5), conf=0.3, maps=True
        )
        assert (shown["width"], shown["height"]) == (80, 48)
        for k, t in enumerate(data["steps"]):
            found = result.steps[t]
            assert [box[5] for box in shown["boxes"][k]] == found.class_id.tolist()
            assert np.allclose([box[4] for box in shown["boxes"][k]], found.confidence, atol=1e-3)
            assert np.allclose([box[:4] for box in shown["boxes"][k]], found.xyxy, atol=0.51)
        assert np.isclose(shown["operations"][-1], result.operations_per_mac, rtol=1e-3)
        assert np.isclose(shown["spikes"][-1], result.spikes, rtol=1e-3)
        operations = sum(
            layer["operations"][-1] for layer in shown["layers"] if layer["operations"]
        )
        assert np.isclose(operations, result.operations["digits"], rtol=2e-3)
        of_layers = [layer["spikes"][-1] for layer in shown["layers"] if layer["spikes"]]
        assert np.allclose(of_layers, list(result.spikes_by_layer.values()), rtol=1e-3)
        neurons = [layer["neurons"] for layer in data["layers"] if layer["neurons"]]
        assert neurons == list(result.seen.neurons_by_layer.values())
        of_ann = detector.detect_ann(weights.parent / "photos" / shown["name"], conf=0.3)
        assert [box[5] for box in shown["ann"]] == of_ann.boxes.cls.tolist()


def test_a_video_has_the_streams_numbers(weights, tmp_path, capsys):
    clip = write_frames(tmp_path / "clip.mp4", walk(6))
    path = tmp_path / "clip.html"
    assert (
        run_tool("report", clip, "--conf", "0.3", "--every", "2", "--weights", weights, "-o", path)
        == 0
    )
    assert re.search(
        r"report saved to .*clip.html, 0\.\d MB: open it in a browser", capsys.readouterr().out
    )
    data = parsed(path).data
    frames = list(SpikingYOLO(weights).stream(clip, conf=0.3, every=2))
    assert data["frame"] == [0, 2, 4] == [one.frame for one in frames] and len(data["images"]) == 3
    assert np.allclose(data["operations"], [one.operations_per_mac for one in frames], rtol=1e-3)
    assert [[box[5] for box in boxes] for boxes in data["boxes"]] == [
        one.boxes.cls.tolist() for one in frames
    ]
    assert (
        set(data["energy"])
        == {account["key"] for account in data["accounts"]}
        == set(data["annEnergy"])
    )
    # The operations of a frame are those of its layers together.
    assert [layer["name"] for layer in data["layers"]] == ["conv 2", "conv 3"]
    together = np.sum([layer["values"] for layer in data["layers"]], axis=0)
    assert np.allclose(together, data["operations"], rtol=1e-2)
    assert data["tracks"] == []


def test_a_video_has_its_tracks(weights, tmp_path):
    pytest.importorskip("trackers", reason="needs the extra track")
    clip = write_frames(tmp_path / "clip.mp4", walk(5))
    options = ReportOptions((str(clip),), weights=weights, conf=0.3, track=True)
    tracks = report(options).data["tracks"]
    expected: dict[str, list[int]] = {}
    for one in SpikingYOLO(weights).stream(clip, conf=0.3, track=True):
        for box in one.entries():
            if box["track_id"] is not None:
                expected.setdefault(f"{box['track_id']} {box['class']}", []).append(one.frame)
    assert {track["name"]: track["frames"] for track in tracks} == expected and expected
    with pytest.raises(UserError, match="--track: for videos only"):
        report(ReportOptions((str(weights.parent / "photos"),), weights=weights, track=True))


def test_an_evaluation_has_the_tables_numbers(tmp_path):
    weights, data = make_scene(tmp_path)
    call = (
        "--data",
        data,
        "--images",
        data.parent / "images",
        "--weights",
        weights,
        "--T",
        2,
        "--bootstrap",
        20,
    )
    assert run_tool("eval", *call, "--report", "--project", tmp_path, "--name", "out") == 0
    content = parsed(tmp_path / "out" / "report.html").data
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content["steps"] == [1, 2] and content["images"] == 6
    for row, expected in zip(content["rows"], results["steps"], strict=True):
        assert row["figures"]["mAP50"]["value"] == pytest.approx(expected["mAP50"], rel=1e-3)
        assert row["minus"]["interval"] == pytest.approx(
            expected["interval_95"]["mAP50_minus_ann"], rel=1e-3
        )
        assert row["error"] == pytest.approx(expected["output_error"], rel=1e-3)
    differences = [one["difference"] for one in content["photographs"]]
    assert differences == sorted(differences, reverse=True)


def test_photographs_differ_by_the_boxes_that_only_one_network_has():
    ann = detections((0, 0, 10, 10, 0.9, 0), (20, 20, 30, 30, 0.5, 1))
    # The second is of another class.
    snn = detections((1, 0, 10, 10, 0.8, 0), (20, 20, 30, 30, 0.4, 2))
    assert difference(ann, snn) == pytest.approx(0.9) and difference(ann, ann) == 0


def test_an_object_is_followed_over_time():
    ann = detections((0, 0, 10, 10, 0.9, 0))
    faint = detections((0, 0, 10, 9, 0.1, 0))
    late = detections((50, 50, 70, 70, 0.8, 1), (0, 0, 9, 10, 0.7, 0), (0, 0, 10, 10, 0.05, 0))
    objects = follow(ann, {1: faint, 2: detections(), 3: late}, 0.25)
    assert [(one.class_id, one.ann and round(one.ann, 2)) for one in objects] == [
        (0, 0.9),
        (1, None),
    ]
    assert [c and round(c, 2) for c in objects[0].confidence] == [0.1, None, 0.7]
    assert [c and round(c, 2) for c in objects[1].confidence] == [None, None, 0.8]


def test_a_slider_has_all_steps_of_a_short_run_and_some_of_a_long_one():
    assert slider_steps(3) == [1, 2, 3] and slider_steps(9, (2, 4)) == [2, 4, 9]
    steps = slider_steps(256)
    assert (
        steps[0] == 1
        and steps[-1] == 256
        and 15 <= len(steps) <= 24
        and steps == sorted(set(steps))
    )


def test_a_map_loses_its_letterbox_and_keeps_its_mean():
    rate = torch.zeros(8, 8)
    rate[2:6] = torch.tensor([[1.0, 3.0] * 4] * 4)
    # Two rows of grey above and below.
    placement = Placement((80, 40), (8, 4), (0, 2), (8, 8))
    small = small_map(rate, placement, 4)
    assert small.shape == (2, 4) and torch.equal(small, torch.full((2, 4), 2.0))
    tiles, low, high = as_bytes(torch.tensor([[[1.0, 2.0, 5.0]], [[3.0, 3.0, 3.0]]]))
    assert tiles.tolist() == [[[0, 64, 255]], [[0, 0, 0]]] and (low, high) == (
        [1.0, 3.0],
        [5.0, 3.0],
    )


def test_tiles_lie_where_the_page_looks_for_them():
    tiles = np.arange(300, dtype=np.uint8)[:, None, None].repeat(40, 1).repeat(3, 2)
    of = sprite(tiles)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(of["sprite"].partition(",")[2]))))
    assert of["columns"] == 2 and image.shape == (150 * 40, 6)
    for k in (0, 1, 149, 299):
        assert image[k // 2 * 40 + 39, k % 2 * 3] == k % 256


def test_pictures_keep_to_their_budget():
    noise = np.random.default_rng(0).integers(0, 256, (900, 1400, 3), np.uint8)
    assert len(photograph(noise, 200_000)) <= 200_000 < len(photograph(noise, 10**7))
    frames = [jpeg(noise, 480, 70)] * 4
    assert sum(map(len, thumbnails(frames, 100_000))) <= 100_000
    assert sum(map(len, thumbnails(frames, 10**7))) > 100_000


def test_numbers_are_short():
    assert rounded({"a": [1.23456, 1234567.0, float("nan")], "b": "x", "c": True}) == {
        "a": [1.235, 1235000, None],
        "b": "x",
        "c": True,
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("photos", "-o", "a.txt"), "--output must end in .html, not a.txt"),
        (("gone.jpg",), "gone.jpg does not exist"),
        (("gone.mp4", "photos"), "a report is of photographs or of one video"),
        (("photos", "--steps", "9", "--T", "4"), "--steps must lie in 1..4"),
    ],
)
def test_mistakes_are_one_line(arguments, said, weights, monkeypatch, capsys):
    monkeypatch.chdir(weights.parent)
    assert run_tool("report", *arguments, "--weights", weights) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err


def test_options_are_checked_in_python_too():
    with pytest.raises(UserError, match="must end in"):
        ReportOptions(sources=("a.jpg",), output=Path("a.pdf"))
