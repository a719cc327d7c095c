"""`spiking-yolo score`: known figures, the devkit's rule, and files that are wrong."""

import json

import pytest
from helpers.coco import EXPECTED, FOUND, ground_truth
from helpers.evaluating import make_scene
from helpers.tiny import run_tool

ROWS = [{"image_id": i, "category_id": c, "bbox": [x, y, w, h], "score": score} for i, c, x, y, w, h, score in FOUND]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "gt.json").write_text(json.dumps(ground_truth()))
    (tmp_path / "dt.json").write_text(json.dumps(ROWS))
    return tmp_path


def call(folder, *args) -> int:
    return run_tool("score", "--predictions", folder / "dt.json", "--data", folder / "gt.json", *args)


def test_cocos_figures_without_a_photograph(files, capsys):
    assert call(files, "-o", files / "out.json", "--bootstrap", 20) == 0
    printed = capsys.readouterr().out
    assert "gt: 3 images, 12 predictions" in printed and "mAP50-95" in printed and "69.8" in printed
    saved = json.loads((files / "out.json").read_text())
    assert list(saved["figures"].values()) == pytest.approx(EXPECTED, abs=1e-6)
    low, high = (saved["interval_95"]["mAP50"][end] for end in ("low", "high"))
    assert low < saved["figures"]["mAP50"] < high
    assert saved["per_class"].keys() == {"person", "dog", "toothbrush"} and "command" in saved


def test_vocs_rule_by_hand(files, capsys):
    """Dog, best first: its object in image 2 at .75 (IoU .82); a second box of that at .74 is false, as is the one at
    .55; that of image 3 at .3 is right. Precision 1 up to recall 1/2, then 2/4.
    """
    assert call(files, "--metric", "voc", "--per-class", "-o", files / "out.json") == 0
    saved = json.loads((files / "out.json").read_text())
    assert saved["per_class"]["dog"] == pytest.approx(0.5 * 1 + 0.5 * 0.5)
    assert saved["per_class"]["toothbrush"] == 1 and saved["interval_95"] == {}
    mean = sum(saved["per_class"].values()) / 3
    assert saved["figures"]["mAP_area"] == pytest.approx(mean)
    assert "dog" in capsys.readouterr().out.partition("class")[2]


def test_predictions_of_an_evaluation_have_its_figures(tmp_path):
    weights, data = make_scene(tmp_path)
    images = data.parent / "images"
    assert (
        run_tool("eval", "--data", data, "--images", images, "--weights", weights, "--T", 2, "--project", tmp_path) == 0
    )
    found = tmp_path / "exp" / "predictions_2.json"
    assert run_tool("score", "--predictions", found, "--data", data, "-o", tmp_path / "out.json") == 0
    expected = json.loads((tmp_path / "exp" / "results.json").read_text())["steps"][1]
    got = json.loads((tmp_path / "out.json").read_text())["figures"]
    assert {name: expected[name] for name in got} == pytest.approx(got)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ('{"a": 1}', "holds no list"),
        ("[3]", "prediction 0: it is no object"),
        (json.dumps([{**ROWS[0]}, {"image_id": 1}]), "prediction 1: it lacks category_id"),
        (json.dumps([{**ROWS[0], "image_id": 9}]), "image_id 9 is not one of the data's 3 images"),
        (json.dumps([{**ROWS[0], "image_id": True}]), "image_id True"),
        (json.dumps([{**ROWS[0], "category_id": 2}]), "category_id 2 is not one of the data's 3 categories"),
        (json.dumps([{**ROWS[0], "bbox": [0, 0, -1, 2]}]), "bbox must be"),
        (json.dumps([{**ROWS[0], "score": float("nan")}]), "score must be a number"),
    ],
)
def test_wrong_predictions_are_named(content, said, files, capsys):
    (files / "dt.json").write_text(content)
    assert call(files) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err


def test_missing_files_and_a_wrong_output(files, capsys):
    assert run_tool("score", "--predictions", files / "no.json", "--data", files / "gt.json") == 2
    assert "no.json does not exist; check --predictions" in capsys.readouterr().err
    assert call(files, "-o", "figures.txt") == 2
    assert "--output must end in .json" in capsys.readouterr().err
    (files / "dt.json").write_text("[]")
    assert call(files) == 0, "finding nothing is no mistake"
    assert "0 predictions" in capsys.readouterr().out
