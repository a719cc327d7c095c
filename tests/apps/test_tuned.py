"""What the verbs say and write of a method whose weights are tuned, and where they leave it out."""

import csv
import json
import re
from pathlib import Path

import pytest
from helpers.calibrating import tune_on
from helpers.evaluating import make_scene
from helpers.tiny import run_tool, write_tiny
from helpers.video import grey, write_frames

from spiking_yolo import SpikingYOLO
from spiking_yolo.apps.page.content import facts
from spiking_yolo.convert.methods import TUNED, VIDEO, list_methods
from spiking_yolo.errors import Notice

REMARK = "weights tuned without labels"
# The verb, or its file in a checkout.
NAMED = r"\btune(\.py)? --weights"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A detector with tuned weights, and a dataset."""
    folder = tmp_path_factory.mktemp("tuned")
    weights, data = make_scene(folder, 2)
    tune_on(weights, folder / "images" / "000.png")
    return weights, data


def test_an_evaluation_says_it(scene: tuple[Path, Path], tmp_path: Path, capsys):
    """Text, tables, and page; the ANN's rows and other methods do not."""
    weights, data = scene
    call = ("--weights", weights, "--data", data, "--images", data.parent / "images", "--T", 1)
    call = (*call, "--method", f"p-norm,{TUNED}", "--project", tmp_path, "--baseline", "--report")
    assert run_tool("eval_coco", *call) == 0
    assert f"{TUNED}: {REMARK}" in capsys.readouterr().out
    folder = tmp_path / "exp"
    content = json.loads((folder / "comparison.json").read_text())
    assert "remark" not in content["ann"] and "remark" not in content["methods"]["p-norm"]
    assert content["methods"][TUNED]["remark"] == REMARK
    rows = list(csv.DictReader((folder / "comparison.csv").open()))
    assert [(row["method"], row["remark"]) for row in rows] == [
        ("ann", ""),
        ("p-norm", ""),
        (TUNED, REMARK),
    ]
    own = json.loads((folder / TUNED / "results.json").read_text())
    assert own["remark"] == own["steps"][0]["remark"] == REMARK and "remark" not in own["ann"]
    assert all("remark" not in row for row in own["baseline"])
    assert REMARK in (folder / TUNED / "report.html").read_text()
    assert REMARK not in (folder / "p-norm" / "report.html").read_text()


def test_a_detection_says_it_and_compares_with_the_ann(scene: tuple[Path, Path]):
    weights, data = scene
    photo = data.parent / "images" / "000.png"
    tuned, plain = SpikingYOLO(weights, TUNED), SpikingYOLO(weights)
    result = tuned.detect(photo, T=1)
    assert result.remark == result.to_dict()["remark"] == REMARK and REMARK in result.summary()
    assert repr(result).endswith(REMARK)
    assert REMARK in repr(tuned) and facts(tuned.converted)["method"] == f"{TUNED} ({REMARK})"
    ours, theirs = (detector.detect_ann(photo, conf=0.01) for detector in (tuned, plain))
    assert len(ours) and ours.boxes.xyxy.equal(theirs.boxes.xyxy)
    for other in (ours, plain.detect(photo, T=1)):
        assert (
            not other.remark and "remark" not in other.to_dict() and REMARK not in other.summary()
        )


def test_a_video_says_it(scene: tuple[Path, Path], tmp_path: Path, capsys):
    weights, _ = scene
    clip = write_frames(tmp_path / "clip.mp4", grey([10, 200]))
    call = ("--weights", weights, "--data", clip, "--method", TUNED)
    assert run_tool("eval_video", *call, "--project", tmp_path) == 0
    assert REMARK in capsys.readouterr().out
    content = json.loads((tmp_path / "exp" / TUNED / "results.json").read_text())
    assert content["remark"] == REMARK


def test_an_analysis_says_it(scene: tuple[Path, Path], tmp_path: Path, capsys):
    weights, data = scene
    call = ("--weights", weights, "--data", data.parent / "images", "--method", TUNED)
    call = (*call, "--limit", 1, "--T", 1, "--project", tmp_path)
    assert run_tool("analyze", *call) == 0
    assert f"{TUNED}: {REMARK}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "method", [(TUNED,), (TUNED, "--set", "calibration.weights=false"), (VIDEO,)]
)
def test_without_its_file_every_verb_names_tune(method: tuple[str, ...], tmp_path: Path, capsys):
    weights = write_tiny(tmp_path)
    call = ("--weights", weights, "--method", *method)
    assert run_tool("detect", tmp_path / "photos" / "a.png", *call) == 2
    said = capsys.readouterr().err
    assert re.search(NAMED, said) and "calibrate --" not in said and said.count("\n") == 1
    photos = ("--images", tmp_path / "photos")
    assert run_tool("calibrate", *call, *photos) == 2
    said = capsys.readouterr().err
    assert re.search(NAMED, said) and said.count("\n") == 1


def test_all_methods_go_without_it(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    """Where there is no file: `calibrate` does not make it, and says so."""
    weights = write_tiny(tmp_path)
    some = {name: list_methods()[name] for name in ("p-norm", "signed-digits", TUNED, VIDEO)}
    for module in ("options", "apps.calibrate_run"):
        monkeypatch.setattr(f"spiking_yolo.{module}.list_methods", lambda: some)
    call = ("--weights", weights, "--method", "all", "--set", "calibration.steps=2")
    left_out = rf"{TUNED}.* left out.*\btune"
    with pytest.warns(Notice, match=left_out):
        assert run_tool("calibrate", *call, "--images", tmp_path / "photos") == 0
    assert TUNED not in capsys.readouterr().out
    out = ("--data", tmp_path / "photos", "--T", 1, "--limit", 1, "--project", tmp_path / "runs")
    with pytest.warns(Notice, match=left_out) as notices:
        assert run_tool("analyze", *call, *out) == 0
    assert any(f"{VIDEO} is left out" in str(notice.message) for notice in notices)
    said = capsys.readouterr().out
    assert "signed-digits " in said and TUNED not in said and VIDEO not in said
