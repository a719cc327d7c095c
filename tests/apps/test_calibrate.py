"""`calibrate`: its file, its named calibrations, what goes on, and what goes wrong."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import photo, run_tool, write_tiny
from helpers.video import walk, write_frames
from PIL import Image

from spiking_yolo import SpikingYOLO
from spiking_yolo.apps.calibrate import CalibrateOptions
from spiking_yolo.apps.calibrate import run as calibrate_run
from spiking_yolo.convert.calibration_file import (
    CalibrationFile,
    CalibrationResult,
    save_calibrations,
)
from spiking_yolo.convert.learn.statistics import ImageList
from spiking_yolo.convert.learn.training import Training
from spiking_yolo.convert.load import load
from spiking_yolo.convert.methods import DEFAULT, get_recipe
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io import files
from spiking_yolo.io.files import sha256

FILE = "tiny.64.calibrations.safetensors"
FEW = ("--T", "2", "--max-det", "9")
FAST = ("--set", "calibration.steps=2")
STEPS = ("--set", "calibration.steps=4")


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


def test_statistics_are_kept_and_calibrations_added(folder, capsys):
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
    assert file.statistics().images.count == 2
    # Other photographs of the same names.
    Image.new("RGB", (64, 64)).save("photos/a.png")
    capsys.readouterr()
    assert calibrate(*FAST) == 0
    assert "statistics of 2 images: saved" in capsys.readouterr().out
    assert load("tiny.weights", calibration="fine").recipe.calibration.operations == 0.9


def test_it_says_what_to_run_next(folder, capsys):
    for args, said in (
        (["--quick", "--method", "all"], "detect photo.jpg --weights tiny.weights"),
        (
            ["--quick", "--method", "rmp", "--imgsz", "32"],
            "detect photo.jpg --weights tiny.weights --imgsz 32 --method rmp",
        ),
        (
            ["--calibration", "mine", "-o", "own folder", *FAST],
            "detect photo.jpg --weights tiny.weights --statistics"
            f" 'own folder/{FILE}' --calibration mine",
        ),
    ):
        assert calibrate(*args) == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"next: spiking-yolo {said}"
    # What --quick is for does not change the name of what other methods learn.
    for args in ([], ["--imgsz", "32"]):
        words = ["--weights", "tiny.weights", "--method", "rmp", *args]
        assert run_tool("detect", "photos/a.png", *words) == 0


def test_looking_for_thresholds_is_said_and_shown(folder):
    lines, shown = list[str](), list[tuple[Any, ...]]()
    options = CalibrateOptions(
        weights=Path("tiny.weights"), images=(Path("photos"),), quick=True, calibration="own"
    )
    calibrate_run.calibrate(options, lines.append, lambda *report: shown.append(report))
    assert "looking for thresholds" in lines
    steps = [report[:3] for report in shown if report[0] == "sensitivity"]
    assert steps and [done for _, done, _ in steps] == list(range(1, steps[0][2] + 1))


def test_a_shipped_network_is_calibrated_in_the_cache(folder, monkeypatch):
    monkeypatch.setattr(files, "IN_CHECKOUT", {"weights": str(folder)})
    monkeypatch.setenv("SPIKING_YOLO_CACHE", str(folder / "cache"))
    before = sha256(FILE)
    assert calibrate("--method", "rmp") == 0
    assert sha256(FILE) == before
    (own,) = (folder / "cache" / "calibrations").rglob(FILE)
    assert read(own).names("rmp") == ["default"]
    assert load("tiny.weights", "rmp").neurons


@pytest.fixture
def pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve photographs in place of two, on which tuning may learn."""
    monkeypatch.setattr(calibrate_run, "FEWEST", 12)
    shutil.rmtree("photos")
    Path("photos").mkdir()
    for k in range(12):
        photo(folder / "photos" / f"{k}.png", k)
    return folder


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("untrained", ["--quick"]),
        ("tuned", ["--tune"]),
        ("video", ["--video", "--quick"]),
        ("mine", ["--tune", "--calibration", "mine"]),
    ],
)
def test_named_calibrations(pictures, name, args, capsys):
    assert calibrate(*args, *STEPS) == 0
    out = capsys.readouterr().out
    assert f"calibration {name} of" in out
    assert load("tiny.weights", calibration=name).recipe.calibration.name == name


@pytest.mark.parametrize("quick", [True, False])
def test_training_for_video_starts_from_thresholds_for_video(pictures, quick, monkeypatch):
    """Those of `--quick`, though it uses fewer pictures, or of its own."""
    monkeypatch.setattr(calibrate_run, "_needed", lambda *_: 8)
    if quick:
        assert calibrate("--video", "--quick") == 0
    step, starts = Training.step, []

    def watched(self: Training, x: torch.Tensor, share: float) -> None:
        if not starts:
            known = read().calibration(DEFAULT, "video")
            starts.append((known, self.neurons.values()))
        step(self, x, share)

    monkeypatch.setattr(Training, "step", watched)
    assert calibrate("--video", *STEPS) == 0
    ((known, neurons),) = starts
    assert known.done == 0 and known.images.count == 8
    ratios = []
    for name, own in known.neurons.items():
        ratios.append(neurons[name]["theta"].detach() / own["theta"])
    # Other clips take other operations, to which all are scaled.
    assert torch.cat(ratios).std() < 1e-3


def known(*names: str) -> None:
    """Calibrations of these names beside the weights, in place of others."""
    neurons, images = SpikingYOLO("tiny.weights").converted.neurons, ImageList.of(["a"])
    results = [CalibrationResult(get_recipe(DEFAULT, name), neurons, images) for name in names]
    statistics, sha256 = read().statistics(), read().weights_sha256
    Path(FILE).unlink()
    save_calibrations(Path(FILE), sha256, (64, 64), results, statistics)


def test_the_best_is_found_by_every_command_and_said(folder: Path):
    for names, best in ((["untrained"], "untrained"), (["untrained", "default"], None)):
        known(*names)
        if best is None:
            assert load("tiny.weights").recipe.calibration.name == "default"
            continue
        with pytest.warns(Notice, match=f"your calibration {best} of tiny.weights"):
            assert load("tiny.weights").recipe.calibration.name == best
    known("untrained", "default", "tuned")
    assert load("tiny.weights", f"{DEFAULT}:default").recipe.calibration.name == "default"
    for command in (
        ["detect", "photos/a.png", "--project", "out"],
        ["export", "-o", "net.safetensors"],
        ["analyze", "--data", "photos", "--limit", "1", "--project", "out"],
        ["eval", "--data", "photos", "--method", f"{DEFAULT},p-norm", *FEW, "--project", "out"],
    ):
        with pytest.warns(Notice, match=r"your calibration tuned of tiny\.weights"):
            assert run_tool(*command, "--weights", "tiny.weights") == 0
    known("default", "tuned", "video")
    write_frames(Path("clip.mp4"), walk(3))
    clip = "clip.mp4", "--weights", "tiny.weights", "--project", "out"
    for args, best in (([], "video"), (["--lossless"], "tuned")):
        for command in (["detect"], ["eval", "--max-det", "9", "--data"]):
            with pytest.warns(Notice, match=rf"your calibration {best} of tiny\.weights"):
                assert run_tool(*command, *clip, *args) == 0
    detector = SpikingYOLO("tiny.weights")
    with pytest.warns(Notice, match=r"your calibration video of tiny\.weights"):
        (first, *_) = detector.stream("clip.mp4")
    assert first.method == f"{DEFAULT}-video"
    (lossless, *_) = detector.stream("clip.mp4", lossless=True)
    assert lossless.method == detector.detect(first.image).method != first.method


def test_a_stale_file_is_named_and_passed_over(folder: Path):
    """Of weights that were trained again under the same name."""
    data = Path("tiny.weights").read_bytes()
    Path("tiny.weights").write_bytes(data[:-4] + b"\0\0\0\0")
    with pytest.warns(Notice, match=f"passed over: {FILE} is of other weights"):
        assert run_tool("detect", "photos/a.png", "--weights", "tiny.weights") == 0
    Path(FILE).write_bytes(b"damaged")
    with pytest.warns(Notice, match="passed over"):
        assert run_tool("detect", "photos/a.png", "--weights", "tiny.weights") == 0


@pytest.mark.parametrize("calibration", ["default", "tuned"])
def test_interrupted_training_goes_on(pictures, calibration, monkeypatch, capsys):
    step, done = Training.step, []

    def stopped(self: Training, x: torch.Tensor, share: float) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(x)
        step(self, x, share)

    monkeypatch.setattr(Training, "step", stopped)
    own = ("--calibration", calibration, *STEPS, "-o", "again.safetensors")
    assert calibrate(*own) == 130
    assert "stopped: the best state is kept" in capsys.readouterr().out
    assert read("again.safetensors").calibration(DEFAULT, calibration).done == 0.5
    with pytest.warns(Notice, match="trained to 50% only"):
        load("tiny.weights", calibration=calibration, statistics="again.safetensors")
    monkeypatch.setattr(Training, "step", step)
    assert calibrate(*own) == 0
    assert "going on after 50%" in capsys.readouterr().out
    assert read("again.safetensors").calibration(DEFAULT, calibration).done == 1


def test_settings_of_ones_own_are_found_again(folder: Path):
    assert calibrate(*FAST, "--set", "calibration.operations=0.5") == 0
    assert load("tiny.weights").recipe.calibration.operations == 0.5


def test_more_minutes_go_on(pictures: Path, capsys: pytest.CaptureFixture[str]):
    assert calibrate(*STEPS) == 0
    capsys.readouterr()
    assert calibrate(*STEPS) == 0
    assert "calibration default of these images: kept" in capsys.readouterr().out
    assert calibrate("--minutes", 0.02) == 0
    assert "100%: error" in capsys.readouterr().out


def test_a_photograph_that_cannot_be_read_is_left_out(folder: Path):
    """Not another one of the same name."""
    (folder / "more").mkdir()
    (folder / "more" / "1.png").write_text("damaged")
    assert calibrate("more", *FAST) == 1
    assert read().statistics().images.count == 2


def test_thresholds_of_a_file_are_checked(folder: Path):
    assert calibrate(*FAST) == 0
    learned = read().calibration(DEFAULT, "default")
    save_calibrations(Path(FILE), read().weights_sha256, (64, 64), [replace(learned, neurons={})])
    with pytest.raises(UserError, match="no threshold"):
        load("tiny.weights")
    next(iter(learned.neurons.values()))["theta"].fill_(torch.nan)
    save_calibrations(Path(FILE), read().weights_sha256, (64, 64), [learned])
    with pytest.raises(UserError, match="NaN"):
        load("tiny.weights")


def test_refusals(folder: Path, capsys: pytest.CaptureFixture[str]):
    Path("void").mkdir()
    before = sorted(folder.rglob("*"))
    for args, expected in [
        (("--images", "void"), "no images"),
        ((), "--images"),
        (("--images", "photos", "-o", "/dev/null/s", *FAST), "cannot"),
        (("--images", "photos", "--tune"), "too few"),
        (("--images", "photos", "--minutes", "0"), "--minutes"),
        (("--images", "photos", "--minutes", "1", "--quick"), "does not train"),
        (("--images", "camra.mp4", "--quick", "--video"), "camra.mp4 does not exist"),
        (("--images", "photos", "--tune", "--method", "msat"), "--tune"),
        (("--images", "photos", "--tune", "--quick"), "neither"),
        (("--images", "photos", "--calibration", "a/b"), "calibration"),
        (("--images", "photos", "--calibration", "tunned"), "did you mean 'tuned'?"),
    ]:
        assert run_tool("calibrate", "--weights", "tiny.weights", *args) == 2
        err = capsys.readouterr().err
        assert expected in err and len(err.splitlines()) == 1
        assert sorted(folder.rglob("*")) == before
