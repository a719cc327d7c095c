"""`calibrate`: its file, its named calibrations, tuning, and what goes wrong."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import photo, run_tool, write_tiny

from spiking_yolo.apps import tuning
from spiking_yolo.convert import training
from spiking_yolo.convert.calibration_file import CalibrationFile
from spiking_yolo.convert.load import load
from spiking_yolo.convert.methods import DEFAULT
from spiking_yolo.convert.statistics import ImageList
from spiking_yolo.io import assets
from spiking_yolo.io.files import sha256

FILE = "tiny.64.calibrations.safetensors"
FAST = ("--set", "calibration.steps=2")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With tiny.weights, its calibrations, and two photographs."""
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path)
    return tmp_path


def calibrate(*args: object) -> int:
    call: list[Any] = ["--weights", "tiny.weights", "--images", "photos", *args]
    return run_tool("calibrate", *call)


def read(path: str | Path = FILE) -> CalibrationFile:
    return CalibrationFile.read(path)


def test_statistics_are_kept_and_calibrations_added(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    Path(FILE).unlink()
    assert calibrate(*FAST) == 0
    assert "statistics of 2 images: saved" in capsys.readouterr().out
    assert calibrate("--calibration", "fine", *FAST) == 0
    out = capsys.readouterr().out
    assert "kept" in out and "calibration fine of 2 images" in out
    assert calibrate("--method", "rmp,p-norm") == 0
    assert "p-norm needs the statistics only" in capsys.readouterr().out
    file = read()
    assert file.names(DEFAULT) == ["default", "fine"] and file.names("rmp") == ["default"]
    assert file.statistics().images == ImageList.of(["a.png", "b.png"])
    assert load("tiny.weights", calibration="fine").recipe.calibration.operations == 0.9


def test_the_same_images_give_the_same_numbers(folder: Path):
    for name in ("one", "two"):
        assert calibrate("-o", f"{name}.safetensors", *FAST, "--limit", 1, "--seed", 3) == 0
    one, two = (read(f"{name}.safetensors") for name in ("one", "two"))
    assert one.entries == two.entries, "with checksums of all numbers"


def test_broken_images_are_skipped(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "photos" / "broken.png").write_bytes(b"no image")
    assert calibrate("-o", "s.safetensors", *FAST) == 1
    out, err = capsys.readouterr()
    assert "statistics of 2 images" in out and "broken.png" in err and "--statistics" in out
    assert read("s.safetensors").statistics().images == ImageList.of(["a.png", "b.png"])


def test_a_shipped_network_is_calibrated_in_the_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(assets, "IN_CHECKOUT", {"weights": str(folder)})
    monkeypatch.setenv("SPIKING_YOLO_CACHE", str(folder / "cache"))
    before = sha256(FILE)
    assert calibrate("--method", "rmp") == 0
    assert sha256(FILE) == before
    (own,) = (folder / "cache" / "calibrations").rglob(FILE)
    assert read(own).names("rmp") == ["default"]
    assert load("tiny.weights", "rmp").neurons
    assert calibrate("--method", "rmp", "-o", FILE) == 0
    assert sha256(FILE) != before and read().names("rmp") == ["default"]


@pytest.fixture
def pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty photographs, and a comparison every two steps."""
    monkeypatch.setattr(training, "EVERY", 2)
    monkeypatch.setenv("SPIKING_YOLO_CACHE", str(folder / "cache"))
    shutil.rmtree("photos")
    Path("photos").mkdir()
    for k in range(40):
        photo(folder / "photos" / f"{k}.png", k)
    return folder


STEPS = ("--set", "calibration.steps=6", "--batch", 2)


@pytest.mark.parametrize("name", ["tuned", "tuned-weights", "video"])
def test_tuning(pictures: Path, name: str, capsys: pytest.CaptureFixture[str]):
    assert calibrate("--tune", "--calibration", name, *STEPS) == 0
    out = capsys.readouterr().out
    assert f"calibration {name} of" in out and "step 6:" in out
    network = load("tiny.weights", calibration=name)
    assert bool(network.weights) == (name == "tuned-weights")
    assert not list(pictures.glob("cache/tuning/*"))


def test_an_interrupted_tuning_goes_on_with_the_same_result(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert (
        calibrate("--tune", "--calibration", "tuned-weights", *STEPS, "-o", "whole.safetensors")
        == 0
    )
    step, done = training.Tuning.train_on, []

    def stopped(self: training.Tuning, x: torch.Tensor) -> None:
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(x)
        step(self, x)

    monkeypatch.setattr(tuning.Tuning, "train_on", stopped)
    own = ("--tune", "--calibration", "tuned-weights", *STEPS, "-o", "again.safetensors")
    assert calibrate(*own) != 0
    monkeypatch.setattr(tuning.Tuning, "train_on", step)
    assert calibrate(*own) == 0
    assert "going on after 4 of 6 steps" in capsys.readouterr().out
    one, two = (read(f"{name}.safetensors") for name in ("whole", "again"))
    assert one.entries[f"{DEFAULT}/tuned-weights"] == two.entries[f"{DEFAULT}/tuned-weights"]


def test_refusals(folder: Path, capsys: pytest.CaptureFixture[str]):
    Path("void").mkdir()
    before = sorted(folder.rglob("*"))
    for args, expected in [
        (("--images", "void"), "no images"),
        (("--images", "photos", "--data", "x"), "--data"),
        ((), "--images"),
        (("--images", "photos", "--limit", "0"), "--limit"),
        (("--images", "photos", "-o", "/dev/null/s", *FAST), "cannot"),
        (("--images", "photos", "--tune"), "too few"),
        (("--images", "photos", "--tune", "--method", "msat"), "--tune"),
        (("--images", "photos", "--videos", "photos"), "--calibration video"),
        (("--images", "photos", "--calibration", "a/b"), "calibration"),
    ]:
        assert run_tool("calibrate", "--weights", "tiny.weights", *args) == 2
        err = capsys.readouterr().err
        assert expected in err and len(err.splitlines()) == 1
        assert sorted(folder.rglob("*")) == before
