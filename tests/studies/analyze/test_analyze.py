"""analyze.py as a person calls it, and what it says about conversions that are wrong on purpose."""

import csv
import json
from dataclasses import replace

import pytest
import torch
from helpers.tiny import photo, run_tool, write_tiny
from PIL import Image

from spiking_yolo.convert.pipeline import load
from spiking_yolo.convert.registry import get_recipe, list_methods
from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.neurons import build_neurons
from spiking_yolo.snn.plan import LayerPlan
from spiking_yolo.studies.analyze.chain import Chain
from spiking_yolo.studies.analyze.cost import MethodCost
from spiking_yolo.studies.analyze.diagnosis import _first_layer, advice, diagnose
from spiking_yolo.studies.analyze.layer_table import cost_table, layer_table, wrapped
from spiking_yolo.studies.analyze.run import analyze, work
from spiking_yolo.studies.analyze.start import starts
from spiking_yolo.studies.analyze.totals import LayerTotals
from spiking_yolo.studies.analyze.watch import LayerWatch

FIGURES = {"error", "wrong-spikes", "spikes"}
OF_THRESHOLDS = {"threshold-time", "threshold-activation"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("network"))


@pytest.fixture
def call(weights, tmp_path):
    def run(*args, data=weights.parent / "photos", T=8) -> int:
        common = ("--weights", weights, "--T", T, "--project", tmp_path, "--data", data)
        replaced = [
            part for pair in zip(common[::2], common[1::2], strict=True) if pair[0] not in args for part in pair
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
    assert list(methods) == ["p-norm", "coarse-to-fine"] and list(methods["p-norm"]["spikes"]) == ["2", "4", "8"]
    assert methods["p-norm"]["spikes"]["2"] <= methods["p-norm"]["spikes"]["8"] != 0
    assert json.loads((tmp_path / "exp2" / "analysis.json").read_text())["methods"] == {}
    assert "1 of 2 images" in capsys.readouterr().out


def test_output_error_is_that_of_the_tensors(weights):
    from spiking_yolo.graph import forward
    from spiking_yolo.io.images import preprocess, read_image

    converted = load(weights, "signed-memory", {"neuron.pool_first": "false"})
    paths = [str(weights.parent / "photos" / f"{name}.png") for name in "ab"]
    ticks = []
    found = analyze(converted, paths, 6, progress=lambda: ticks.append(1))
    assert len(ticks) == 2 * work(converted, 6)
    errors = []
    for path in paths:
        x = preprocess(read_image(path), converted.spec)[0][None]
        snn, ann = converted.network().run(x, 6).snapshots[6].outputs[0], forward(converted.graph, x)[0]
        errors.append(float((snn - ann).norm() / ann.norm()))
    assert errors[0] != errors[1]
    assert found.output_error[6] == pytest.approx(sum(errors) / 2, rel=1e-5)  # as in an evaluation


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--T", "0"), "--T must be at least 1"),
        (("--tolerance", "0"), "--tolerance must be above 0"),
        (("--tolerance", "nan"), "--tolerance must be above 0"),
        (("--limit", "0"), "--limit must be at least 1"),
        (("--layer", "nine"), "no layer 'nine': choose from 0, 2"),
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


def diagnosis(weights, method, T=16, tolerance=0.1, **settings) -> str:
    converted = load(weights, method, {k.replace("__", "."): v for k, v in settings.items()})
    found = analyze(converted, [str(weights.parent / "photos" / "a.png")], T)
    assert max(map(len, layer_table(found).splitlines())) <= 100
    return "\n".join(diagnose(found, tolerance))


def test_low_thresholds_clip(weights):
    said = diagnosis(weights, "p-norm", threshold__scale="0.1")
    assert "Layer 0 is the first whose error passes 0.1" in said and "is clipping" in said
    assert "--set threshold.percentile=100" in said and "--set neuron.gamma=2" in said


def test_few_steps_quantise(weights):
    said = diagnosis(weights, "p-norm", T=2)
    assert "is quantisation" in said and "--T 4" in said and "--set neuron.initial=0.5" in said


def test_reset_to_zero_is_blamed(weights):
    said = diagnosis(weights, "p-norm", T=64, tolerance=0.05, neuron__reset="zero")
    assert "is spike-inherent" in said and "--set neuron.reset=subtract" in said


def test_random_input_is_blamed(weights):
    said = diagnosis(weights, "p-norm", encoding__input="poisson", threshold__percentile="100", neuron__initial="0.5")
    assert "the image arrives as random spikes" in said


def test_a_bias_that_mends_the_mean_is_named():
    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    links = [torch.zeros_like(x) + value for value in (1.0, 1.0, 0.9, 0.9, 0.5, 0.5)]
    seen = LayerWatch(x, Activation(), 4)
    layer = build_neurons(
        {"theta": torch.ones(3), "initial": torch.tensor(0.0)}, Recipe("r"), Activation(), LayerPlan("x")
    )
    layer.reset()
    for t in range(1, 5):
        layer(x)
        seen.see(t, layer, x)
    totals = LayerTotals("layers_0_act", 4)
    totals.add(Chain(*links), torch.ones(3, 1, 1), seen, {4: 1.0}, 192)
    said = " ".join(_first_layer([totals], get_recipe("calibration-light"), 4, 0.1))
    assert "a calibrated bias mends the channel's mean only" in said and "Try more steps (--T 8)" in said


def test_inherited_errors_point_above(weights):
    settings = {"neuron__pool_first": "false", "threshold__scale": "0.5"}
    converted = load(weights, "signed-memory", {k.replace("__", "."): v for k, v in settings.items()})
    found = analyze(converted, [str(weights.parent / "photos" / "a.png")], 8)
    first, second = found.layers
    limit = (first.relative_error + second.relative_error) / 2
    assert first.relative_error < limit < second.relative_error and second.dominant() == "wrong input"
    said = "\n".join(diagnose(found, limit))
    assert "Layer 2 is the first" in said and "Look above: of the layers before it layer 0" in said


ALL = "MSAT's thresholds start at {} of Theta in every layer."


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"msat__gain": "1"},
            f"{ALL.format(0.67)} That is outside 0.1 to 0.35, where MSAT is mostly of use: try --set msat.gain=3.1",
        ),
        ({"msat__gain": "3"}, ALL.format(0.21)),
        ({"msat__gain": "3", "msat__det": "false"}, f"{ALL.format(0.091)} That is outside"),
        ({"msat__gain": "2", "msat__det": "false"}, ALL.format(0.21)),
        ({"msat__dtt": "false", "msat__gain": "1"}, "which alone knows Theta (--set msat.dtt=true"),
        ({"msat__units": "raw", "msat__gain": "1"}, "try --set msat.units=normalised --set msat.gain=3.1"),
    ],
)
def test_where_msat_starts(weights, settings, says):
    """sigmoid(ln 2 + 1 - 3) = .21, which a gain of ln 2 + 1 + ln(.8 / .2) = 3.1 makes .2."""
    said = diagnosis(weights, "msat", T=2, msat__confidence="off", **settings).replace("\n", " ")
    assert says in said and ("outside" in said) == ("outside" in says or "try" in says or "alone" in says)


def test_a_start_that_differs_between_layers(weights):
    converted = load(weights, "msat", {"msat.gain": 1, "msat.confidence": "off"})
    names = [node.name for node in converted.graph.activations]
    neurons = {n: {**converted.neurons[n], "gain": torch.tensor(k)} for n, k in zip(names, (3.0, 1.0), strict=True)}
    open_gain = replace(converted, neurons=neurons, recipe=converted.recipe.with_settings({"msat.gain": 0}))
    first, second = starts(open_gain)
    assert first == "MSAT's thresholds start at these fractions of Theta: 0.21 in layer 0, 0.67 in layer 2."
    assert second.startswith("In layer 2 that is outside") and second.endswith("the calibration found it best there.")
    assert starts(load(weights, "msat-plus")) == starts(load(weights, "p-norm")) == []


def test_nothing_to_complain_about(weights):
    assert "No layer's error passes 0.9" in diagnosis(weights, "signed-memory", T=32, tolerance=0.9)


def test_unused_and_silent_channels_are_named(weights):
    converted = load(weights, "p-norm", {"threshold.scale": "1000"})
    found = analyze(converted, [str(weights.parent / "photos" / "a.png")], 4)
    said = "\n".join(diagnose(found, 0.1))
    assert "are active in the ANN and never fired" in said
    assert all(layer.count("silent") == len(layer.channels["positive"]) - layer.count("dead") for layer in found.layers)


@pytest.mark.parametrize("part", ["clipping", "quantisation", "spike-inherent", "wrong input", "uneven arrival"])
@pytest.mark.parametrize("name", list(list_methods()))
def test_advice_can_be_followed(name, part):
    """Every --set that is suggested is accepted and changes something, and every --method exists."""
    recipe = get_recipe(name)
    if part == "wrong input":
        recipe = get_recipe("spike-norm")  # advice is asked for where the image itself is the wrong input
    words = advice(part, recipe, 16).replace(",", " ").replace(")", " ").replace("(", " ").split()
    suggested = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert all(recipe.with_settings(dict([setting.split("=")])) != recipe for setting in suggested)
    assert all(words[i + 1] in list_methods() for i, word in enumerate(words) if word == "--method")
    assert suggested or "--method" in words or "--T" in words


def test_text_fits():
    assert max(map(len, wrapped(["word " * 60]).splitlines())) <= 100
    text = cost_table({"a": MethodCost({4: 1.5e6, 8: 12.0}, {4: 0.5, 8: 0.25})})
    assert text.splitlines()[1].split() == ["a", "1.5M", "12", "0.500", "0.250"]


def test_a_long_name_is_cut(weights):
    found = analyze(load(weights, "p-norm"), [str(weights.parent / "photos" / "a.png")], 4)
    found.layers[0].name = "features_denseblock_3_layer_7_activation"
    lines = layer_table(found).splitlines()
    assert max(map(len, lines)) <= 100 and lines[1].startswith("…") and "activation" in lines[1]
