"""Files of statistics and calibrations, and of converted networks: what is added, what stays, the same
bits back, and what is refused.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.networks import ALL, Pooled, TinyLeaky, images, make, spiking, statistics
from helpers.tiny import write_tiny
from safetensors.torch import save_file
from torch import nn

from spiking_yolo.convert.calibration_file import (
    CalibrationFile,
    CalibrationResult,
    calibrations_path,
    entry_text,
    pack,
    save_calibrations,
)
from spiking_yolo.convert.learn.statistics import ImageList
from spiking_yolo.convert.load import Converted, load
from spiking_yolo.convert.methods import CALIBRATIONS, DEFAULT, get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph
from spiking_yolo.graph.trace import trace
from spiking_yolo.io.files import sha256
from spiking_yolo.io.tensors import read_safetensors, write_safetensors
from spiking_yolo.recipe import Recipe

SHA = "a" * 64
SIZE = (8, 8)


def result(theta: float, name: str = "default", method: str = "rmp") -> CalibrationResult:
    neurons = {"act": {"theta": torch.tensor([theta, 1.0]), "initial": torch.tensor(0.5)}}
    return CalibrationResult(get_recipe(method, name), neurons, ImageList.of(["a.jpg", "b.jpg"]))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.8.calibrations.safetensors"
    known = statistics(trace(make(TinyLeaky), images(1)), images(2))
    save_calibrations(path, SHA, SIZE, [result(2.0), result(3.0, "own")], known)
    return path


def test_round_trip(tmp_path: Path):
    for method in ["calibration-light", "calibration-advanced", "msat"]:
        recipe = get_recipe(method).with_settings({"calibration.T": 2})
        neurons = spiking(make(TinyLeaky), images(1), recipe).neurons
        own = CalibrationResult(recipe, neurons, ImageList.of(["a.jpg"]))
        save_calibrations(tmp_path / "a.safetensors", SHA, (416, 608), [own])
        file = CalibrationFile.read(tmp_path / "a.safetensors")
        assert (file.weights_sha256, file.imgsz) == (SHA, (416, 608))
        back = file.calibration(method, "default")
        assert replace(back, neurons=own.neurons) == own and back.recipe == recipe
        expected, found = pack(neurons), pack(back.neurons)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_one_is_added_or_replaced_and_the_others_stay(path: Path):
    save_calibrations(path, SHA, SIZE, [result(4.0, "own"), result(5.0, method="tsc")])
    file = CalibrationFile.read(path)
    assert file.names("rmp") == ["default", "own"] and file.names("tsc") == ["default"]
    thetas = [
        file.calibration("rmp", name).neurons["act"]["theta"][0] for name in ("own", "default")
    ]
    assert thetas == [4.0, 2.0]
    assert file.statistics().histograms


def test_a_file_of_other_weights_is_replaced(path: Path):
    save_calibrations(path, "b" * 64, SIZE, [result(4.0)])
    assert list(CalibrationFile.read(path).entries) == ["rmp/default"]


def test_a_changed_number_is_noticed(path: Path):
    metadata, tensors = read_safetensors(path)
    tensors["rmp/own/act/theta"][0] = 7.0
    write_safetensors(path, tensors, metadata)
    file = CalibrationFile.read(path)
    assert file.calibration("rmp", "default")
    with pytest.raises(UserError, match="rmp/own is not as it was written"):
        file.calibration("rmp", "own")


def test_other_files_are_refused(tmp_path: Path):
    for content in [b"", b"\x80\x04.", b"\x08\0\0\0\0\0\0\0{}      "]:
        (tmp_path / "s.safetensors").write_bytes(content)
        with pytest.raises(UserError, match=r"s\.safetensors") as error:
            CalibrationFile.read(tmp_path / "s.safetensors")
        assert "\n" not in str(error.value)


def test_damaged_metadata_are_refused(path: Path):
    for change in [{"imgsz": "[8]"}, {"imgsz": "x"}, {"format": "other"}]:
        metadata, tensors = read_safetensors(path)
        write_safetensors(path, tensors, {**metadata, **change})
        with pytest.raises(UserError, match="calibrate"):
            CalibrationFile.read(path)


def test_what_fits():
    """Readout and, where gradients decide, neurons may change; what was learned may not."""
    rmp = result(1.0)
    assert rmp.fits(get_recipe("rmp").with_settings({"readout.skip": 3}))
    assert not rmp.fits(get_recipe("rmp").with_settings({"threshold.scale": 0.7}))
    tuned = result(1.0, "tuned", DEFAULT)
    recipe = get_recipe(DEFAULT, "tuned")
    assert tuned.fits(recipe.with_settings({"neuron.slack": 0, "calibration.steps": 5}))
    assert not tuned.fits(recipe.with_settings({"calibration.operations": 0.3}))


def test_named_calibrations_are_good_recipes():
    names = {get_recipe(DEFAULT, name).label for name in CALIBRATIONS}
    assert len(names) == len(CALIBRATIONS) and DEFAULT in names
    video = get_recipe("signed-digits:video")
    assert video.calibration.frames == 5
    assert video.neuron.dead_zone == get_recipe(DEFAULT).neuron.dead_zone


def test_load_finds_what_was_made_and_says_how_to_make_what_is_missing(tmp_path: Path):
    weights = write_tiny(tmp_path)
    with pytest.raises(UserError, match=r"no calibration default of rmp .*--method rmp"):
        load(weights, "rmp")
    with pytest.raises(UserError, match=r"no calibration mine .*found: default.*--calibration"):
        load(weights, calibration="mine")
    default = load(weights)
    # The calibration of a square is that of other shapes, too.
    assert load(weights, imgsz=(32, 64)).spec.height == 32
    with pytest.raises(UserError, match="at 32 pixels"):
        load(weights, imgsz=(32, 32))
    settings = {"calibration.name": "mine", "calibration.operations": 0.5}
    own = get_recipe(DEFAULT).with_settings(settings)
    learned = CalibrationResult(own, default.neurons, ImageList.of(["x"]))
    save_calibrations(calibrations_path(weights, (64, 64)), sha256(weights), (64, 64), [learned])
    mine = load(weights, calibration="mine", settings={"neuron.slack": 0.1})
    assert mine.recipe.calibration.operations == 0.5 and mine.recipe.neuron.slack == 0.1
    assert mine.recipe.label == "signed-digits-mine"
    with pytest.raises(UserError, match="with these settings"):
        load(weights, calibration="mine", settings={"calibration.operations": 0.6})


def test_trained_weights_of_earlier_versions_are_passed_over(tmp_path: Path):
    """They had a calibration of the default method; named, it is refused in one line."""
    weights = write_tiny(tmp_path)
    path, key = calibrations_path(weights, (64, 64)), f"{DEFAULT}/tuned-weights"
    metadata, tensors = read_safetensors(path)
    own = {"body/weight/levels": torch.zeros(2, 2, dtype=torch.int8)}
    content = {"settings": {"calibration.weights": True}, "images": {"count": 1, "sha256": SHA}}
    tensors |= {f"{key}/{name}": value for name, value in own.items()}
    write_safetensors(path, tensors, {**metadata, key: entry_text(key, content, own)})
    default = load(weights)
    assert default.recipe.calibration.name == "default"
    with pytest.raises(UserError, match=r"unknown setting 'calibration\.weights'") as error:
        load(weights, calibration="tuned-weights")
    assert "\n" not in str(error.value)
    # A converted network of those weights is refused too.
    default.save(tmp_path / "net.safetensors")
    metadata, tensors = read_safetensors(tmp_path / "net.safetensors")
    recipe = json.loads(metadata["recipe"])
    recipe["calibration"]["weights"] = True
    changed = {**metadata, "recipe": json.dumps(recipe)}
    write_safetensors(tmp_path / "net.safetensors", tensors, changed)
    with pytest.raises(UserError, match=r"calibration\.weights"):
        Converted.load(tmp_path / "net.safetensors")


# A gain, corrections of starts and of biases, values at rest, a schedule.
KINDS = ("msat", "calibration-advanced", "calibration-light", "signed-digits", "css")


def assert_same_run(a: Converted, b: Converted, x: torch.Tensor, *to: Any) -> None:
    networks = [c.network() if c.recipe.complete else c.simulator(*to) for c in (a, b)]
    first, second = (network.run(x.to(*to), 8).snapshots[8] for network in networks)
    assert all(torch.equal(p, q) for p, q in zip(first.outputs, second.outputs, strict=True))
    assert all(torch.equal(first.spikes[k], second.spikes[k]) for k in first.spikes)
    assert torch.equal(first.operations.spikes, second.operations.spikes)


@pytest.mark.parametrize(
    ("cls", "method"), [*((TinyLeaky, name) for name in KINDS), *((cls, "dcgs") for cls in ALL[1:])]
)
def test_round_trip_is_bit_identical(cls: type[nn.Module], method: str, tmp_path: Path):
    x = images(2)
    converted = spiking(make(cls), x, get_recipe(method), {"calibration.T": 8})
    converted.save(tmp_path / "net.safetensors")
    loaded = Converted.load(tmp_path / "net.safetensors")
    for name in ("recipe", "spec", "provenance"):
        assert getattr(loaded, name) == getattr(converted, name)
    assert loaded.graph.nodes == converted.graph.nodes
    assert loaded.graph.outputs == converted.graph.outputs
    assert_same_run(converted, loaded, x, torch.float64)
    assert_same_run(converted, loaded, x, torch.float32)


def test_other_and_damaged_files_are_refused(tmp_path: Path):
    path = tmp_path / "net.safetensors"
    converted = spiking(make(TinyLeaky), images(1), Recipe("tested"))
    converted.save(path)
    whole = path.read_bytes()
    for content in (b"", whole[:100], whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"net\.safetensors"):
            Converted.load(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="not a converted network"):
        Converted.load(path)
    with pytest.raises(UserError, match="cannot read"):
        Converted.load(tmp_path / "missing.safetensors")


def test_a_file_whose_network_would_do_harm_is_refused(tmp_path: Path):
    for change, what in [
        # SIGFPE when it runs.
        (lambda node: replace(node, attrs={**node.attrs, "stride": [0, 0]}), "does not fit"),
        # Memory.
        (lambda node: replace(node, attrs={**node.attrs, "padding": [10**9] * 2}), "does not fit"),
        # A file of its pictures.
        (lambda node: replace(node, name="../../../escaped"), "must be named by letters"),
    ]:
        net = spiking(make(Pooled), images(1), get_recipe("dcgs"))
        source, first, second, *rest = net.graph.nodes
        changed = change(first)
        nodes = (source, changed, replace(second, inputs=(changed.name,)), *rest)
        tensors, old, new = {}, f"{first.name}.", f"{changed.name}."
        for key, value in net.graph.tensors.items():
            tensors[key.replace(old, new)] = value
        graph = Graph(nodes, net.graph.outputs, tensors)
        replace(net, graph=graph).save(tmp_path / "net.safetensors")
        with pytest.raises(UserError, match=what) as error:
            Converted.load(tmp_path / "net.safetensors")
        assert "\n" not in str(error.value)
