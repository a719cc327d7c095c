"""The file of statistics and calibrations: what is added, what stays, what is found and refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.networks import TinyLeaky, images, make, spiking, statistics
from helpers.tiny import write_tiny

from spiking_yolo.convert.calibration_file import (
    CalibrationFile,
    CalibrationResult,
    calibrations_path,
    pack,
    save_calibrations,
)
from spiking_yolo.convert.load import load
from spiking_yolo.convert.methods import CALIBRATIONS, DEFAULT, get_recipe
from spiking_yolo.convert.statistics import ImageList
from spiking_yolo.errors import UserError
from spiking_yolo.graph.trace import trace
from spiking_yolo.io.files import sha256
from spiking_yolo.io.tensors import read_safetensors, write_safetensors

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
    assert get_recipe("signed-digits:video").calibration.frames == 5
    assert get_recipe(DEFAULT, "tuned-weights").remark and not get_recipe(DEFAULT, "tuned").remark


def test_load_finds_what_was_made_and_says_how_to_make_what_is_missing(tmp_path: Path):
    weights = write_tiny(tmp_path)
    with pytest.raises(UserError, match=r"no calibration default of rmp .*--method rmp"):
        load(weights, "rmp")
    with pytest.raises(UserError, match=r"no calibration mine .*found: default.*--calibration"):
        load(weights, calibration="mine")
    default = load(weights)
    settings = {"calibration.name": "mine", "calibration.operations": 0.5}
    own = get_recipe(DEFAULT).with_settings(settings)
    learned = CalibrationResult(own, default.neurons, ImageList.of(["x"]))
    save_calibrations(calibrations_path(weights, (64, 64)), sha256(weights), (64, 64), [learned])
    mine = load(weights, calibration="mine", settings={"neuron.slack": 0.1})
    assert mine.recipe.calibration.operations == 0.5 and mine.recipe.neuron.slack == 0.1
    assert mine.recipe.label == "signed-digits-mine"
    with pytest.raises(UserError, match="with these settings"):
        load(weights, calibration="mine", settings={"calibration.operations": 0.6})
