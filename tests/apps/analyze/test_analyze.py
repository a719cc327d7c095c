"""analyze.py as a person calls it: its files, its tables and the error of the output."""

import csv
import json

import pytest
from helpers.tiny import photo, run_tool
from PIL import Image

from spiking_yolo.apps.analyze.diagnosis import cost_table, layer_table, wrapped
from spiking_yolo.apps.analyze.records import MethodCost
from spiking_yolo.apps.analyze.run import analyze, work
from spiking_yolo.convert.load import load

FIGURES = {"error", "wrong-spikes", "spikes"}
OF_THRESHOLDS = {"threshold-time", "threshold-activation"}


@pytest.fixture
def call(weights, tmp_path):
    def run(*args, data=weights.parent / "photos", T=8) -> int:
        common = ("--weights", weights, "--T", T, "--project", tmp_path, "--data", data)
        replaced = [
            part
            for pair in zip(common[::2], common[1::2], strict=True)
            if pair[0] not in args
            for part in pair
        ]
        return run_tool("analyze", *replaced, *args)

    return run


@pytest.mark.parametrize("method", ["coarse-to-fine", "p-norm", "channel-norm", "signed-memory"])
def test_files_and_table(call, tmp_path, capsys, method):
    assert call("--method", method) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.removesuffix(f"{tmp_path / 'exp'}\n").splitlines())) <= 100
    assert "pool_first=false" in printed and "The output's relative error" in printed
    content = json.loads((tmp_path / "exp" / "analysis.json").read_text())
    assert content["method"] == method and content["recipe"]["neuron"]["pool_first"] is False
    assert content["images"] == ["a.png", "b.png"] and content["T"] == 8
    with open(tmp_path / "exp" / "layers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(content["layers"]) == 2
    for row, layer in zip(rows, content["layers"], strict=True):
        shares = sum(v for k, v in layer.items() if k.startswith("share_"))
        assert shares == pytest.approx(layer["error"]) and float(row["error"]) == layer["error"]
        assert row["sin_16"] == "" and len(layer["sin"]) == 8 and layer["sin"][-1] == layer["sin_T"]
        assert layer["sin"] == sorted(layer["sin"])
    assert len(content["sample"]["theta"]) == len(content["sample"]["t"]) <= 8
    changing = OF_THRESHOLDS if method == "coarse-to-fine" else set()  # the others' are constant
    assert {path.stem for path in (tmp_path / "exp").glob("*.png")} == FIGURES | changing
    for name in FIGURES | changing:
        assert min(Image.open(tmp_path / "exp" / f"{name}.png").size) > 400


def test_runs_are_numbered_and_methods_compared(call, tmp_path, capsys):
    assert call("--methods", "p-norm,coarse-to-fine", "--limit", 1) == 0
    assert call("--limit", 1) == 0
    methods = json.loads((tmp_path / "exp" / "analysis.json").read_text())["methods"]
    assert list(methods) == ["p-norm", "coarse-to-fine"] and list(methods["p-norm"]["spikes"]) == [
        "2",
        "4",
        "8",
    ]
    assert methods["p-norm"]["spikes"]["2"] <= methods["p-norm"]["spikes"]["8"] != 0
    assert json.loads((tmp_path / "exp2" / "analysis.json").read_text())["methods"] == {}
    assert "1 of 2 images" in capsys.readouterr().out


def test_output_error_is_that_of_the_tensors(weights):
    from spiking_yolo.data.images import preprocess, read_image
    from spiking_yolo.graph import forward

    converted = load(weights, "signed-memory", {"neuron.pool_first": "false"})
    paths = [str(weights.parent / "photos" / f"{name}.png") for name in "ab"]
    ticks = []
    analysis = analyze(converted, paths, 6, progress=lambda: ticks.append(1))
    assert len(ticks) == 2 * work(converted, 6)
    errors = []
    for path in paths:
        x = preprocess(read_image(path), converted.spec)[0][None]
        snn, ann = (
            converted.network()(x, 6).snapshots[6].outputs[0],
            forward(converted.graph, x)[0],
        )
        errors.append(float((snn - ann).norm() / ann.norm()))
    assert errors[0] != errors[1]
    assert analysis.output_error[6] == pytest.approx(
        sum(errors) / 2, rel=1e-5
    )  # as in an evaluation


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--T", "0"), "--T must be at least 1"),
        (("--tolerance", "0"), "--tolerance must be above 0"),
        (("--tolerance", "nan"), "--tolerance must be above 0"),
        (("--limit", "0"), "--limit must be at least 1"),
        (
            ("--layer", "nine"),
            "no layer 'nine': choose from conv 1 (layers_0_act), conv 2 (layers_2_act)",
        ),
        (("--method", "nonsense"), "unknown method"),
        (("--methods", "p-norm,nonsense"), "unknown method"),
        (("--methods", "msat"), "calibrate"),
        (("--split", "val2017"), "--split belongs to"),
        (("--device", "abacus"), "cannot use the device abacus"),
        (("--data", "absent.jpg"), "absent.jpg does not exist"),
        (("--data", "film.mp4"), "there is no image"),
    ],
)
def test_mistakes(call, tmp_path, capsys, args, says):
    assert call(*args) == 2
    said = capsys.readouterr().err.strip()
    assert says in said.splitlines()[-1] and said.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "exp").exists()


def test_coco_folder(call, weights, tmp_path, capsys):
    folder = tmp_path / "coco"
    (folder / "annotations").mkdir(parents=True)
    (folder / "val2017").mkdir()
    photo(folder / "val2017" / "one.png", 5)
    images = [{"id": 1, "file_name": "one.png", "width": 80, "height": 48}]
    content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    assert call(data=folder) == 0
    assert "1 of 1 images" in capsys.readouterr().out
    assert call("--split", "train2017", data=folder) == 2


def test_text_fits():
    assert max(map(len, wrapped(["word " * 60]).splitlines())) <= 100
    text = cost_table({"a": MethodCost({4: 1.5e6, 8: 12.0}, {4: 0.5, 8: 0.25})})
    assert text.splitlines()[1].split() == ["a", "1.5M", "12", "0.500", "0.250"]


def test_a_long_name_is_cut(weights):
    analysis = analyze(load(weights, "p-norm"), [str(weights.parent / "photos" / "a.png")], 4)
    analysis.layers[0].name = "features_denseblock_3_layer_7_activation"
    lines = layer_table(analysis).splitlines()
    assert max(map(len, lines)) <= 100 and lines[1].startswith("…") and "activation" in lines[1]
