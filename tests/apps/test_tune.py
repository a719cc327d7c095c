"""`tune` as it is typed: its file, its curve, resuming, and what goes wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.classifying import write_all
from helpers.tiny import photo, run_tool, write_tiny

from spiking_yolo.apps import tune_run
from spiking_yolo.convert import tune_weights
from spiking_yolo.convert.calibration_file import CalibrationResult
from spiking_yolo.convert.load import load
from spiking_yolo.convert.methods import TUNED, VIDEO
from spiking_yolo.convert.tune_weights import Tuning
from spiking_yolo.errors import Notice

STEPS = 6
RESULT = f"tiny.64.{TUNED}.safetensors"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With tiny.weights, and forty photographs in two folders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tune_weights, "EVERY", 2)
    write_tiny(tmp_path)
    for name, count in (("few", 8), ("many", 32)):
        (tmp_path / name).mkdir()
        for k in range(count):
            photo(tmp_path / name / f"{name}{k}.png", k)
    return tmp_path


def tune(*args: object, images: tuple[str, ...] = ("few", "many")) -> int:
    call: list[Any] = ["--weights", "tiny.weights", "--images", *images, "--device", "cpu"]
    call += ["--set", f"calibration.steps={STEPS}", "--project", "runs", "--bf16", "off", *args]
    return run_tool("tune", *call)


def one_line(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    err = capsys.readouterr().err.strip()
    assert len(err.splitlines()) == 1 and all(word in err for word in words), err


def test_tunes_and_every_verb_takes_the_file(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert tune() == 0
    out = capsys.readouterr().out
    assert RESULT in out and f"--method {TUNED}" in out
    run = folder / "runs" / "exp"
    card = json.loads((run / "card.json").read_text())
    assert card["images"] + card["held_back"] == 40 and card["file"] == RESULT
    rows = (run / "curve.csv").read_text().splitlines()
    assert rows[0].startswith("step,operations,error") and len(rows) == 1 + STEPS / 2
    assert (run / "error.png").stat().st_size and (run / "operations.png").stat().st_size
    result = CalibrationResult.load(folder / RESULT)
    assert len(result.images) == card["images"]
    assert load("tiny.weights", TUNED).weights, "however long it was tuned"
    args = ("--weights", "tiny.weights", "--method", TUNED)
    assert run_tool("detect", "few/few0.png", *args, "--T", "1", "--project", "runs") == 0


@pytest.mark.parametrize("method", [TUNED, VIDEO])
def test_resumed_after_a_kill_equals_uninterrupted(
    method: str, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    file, method_args = f"tiny.64.{method}.safetensors", ("--method", method)
    step = Tuning.step

    def killed(tuning: Tuning, x: torch.Tensor) -> None:
        if tuning.steps == 3:
            raise KeyboardInterrupt
        step(tuning, x)

    assert tune("--output", "whole", *method_args) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Tuning, "step", killed)
        assert tune("--save-every", "0", "--name", "killed", *method_args) == 130
    assert not (folder / file).exists()
    assert tune("--resume", "runs/killed", *method_args) == 0
    assert (folder / file).read_bytes() == (folder / "whole" / file).read_bytes()
    curves = [(folder / "runs" / name / "curve.csv").read_text() for name in ("exp", "killed")]
    assert curves[0] == curves[1]


def test_neurons_for_videos_learn_from_clips(folder: Path, capsys: pytest.CaptureFixture[str]):
    """Its goal counts the operations of later frames; where there are none tuned on pictures,
    training starts from the default.
    """
    args = ("--method", VIDEO, "--set", "calibration.operations=0.2")
    assert tune(*args) == 0
    out = capsys.readouterr().out
    assert f"tiny.64.{VIDEO}.calibration.operations=0.2.safetensors" in out
    assert f"--method {VIDEO}" in out and "starting from the default" in out
    converted = load("tiny.weights", VIDEO, {"calibration.operations": 0.2})
    assert not converted.weights and not converted.recipe.remark
    assert tune("--set", "calibration.weights=false", "--name", "pictures") == 0
    capsys.readouterr()
    assert tune(*args, "--name", "again") == 0
    assert "starting from neurons tuned on pictures" in capsys.readouterr().out


def test_videos_without_labels(folder: Path, capsys: pytest.CaptureFixture[str]):
    frames = folder / "walk" / "img1"
    frames.mkdir(parents=True)
    for k in range(12):
        photo(frames / f"{k:02}.png", k)
    args = ("--method", VIDEO, "--videos", "walk")
    assert tune(*args) == 0
    card = json.loads((folder / "runs" / "exp" / "card.json").read_text())
    assert card["videos"] == 1 and card["images"] + card["held_back"] == 40
    (folder / "runs" / "exp" / "card.json").unlink()
    capsys.readouterr()
    assert tune("--resume", "runs/exp", *args[:2]) == 2
    one_line(capsys, "--videos")
    assert tune("--videos", "walk") == 2
    one_line(capsys, "learn from clips", VIDEO)
    assert tune(*args, "--set", "calibration.frames=20") == 2
    one_line(capsys, "walk has fewer than")


def test_methods_that_are_not_tuned_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert tune("--method", "p-norm") == 2
    one_line(capsys, "p-norm is not tuned", VIDEO)


def test_a_run_is_resumed_only_as_it_began(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert tune("--name", "a") == 0
    capsys.readouterr()
    assert tune("--resume", "runs/a") == 2
    one_line(capsys, "finished")
    (folder / "runs" / "a" / "card.json").unlink()
    for args, word in ((("--lr", "0.1"), "--lr"), (("--seed", "3"), "--seed")):
        assert tune("--resume", "runs/a", *args) == 2
        one_line(capsys, word)
    assert tune("--resume", "runs/a", images=("many",)) == 2
    one_line(capsys, "--images")
    (folder / "runs" / "a" / "state.pt").write_bytes(b"no state")
    assert tune("--resume", "runs/a") == 2
    one_line(capsys, "damaged")


def test_too_few_pictures(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert tune(images=("few",)) == 2
    one_line(capsys, "8 pictures are too few", "32")
    assert not (folder / "runs").exists()


def test_unreadable_pictures_are_named(folder: Path, capsys: pytest.CaptureFixture[str]):
    for k in range(20):
        (folder / "many" / f"many{k}.png").write_bytes(b"damaged")
    assert tune() == 1
    captured = capsys.readouterr()
    assert "skipped: cannot read" in captured.err and RESULT in captured.out


def test_memory_that_runs_out_halves_the_batch(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    step = Tuning.step
    sizes: list[int] = []

    def hungry(tuning: Tuning, x: torch.Tensor) -> None:
        sizes.append(len(x))
        if len(x) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        step(tuning, x)

    monkeypatch.setattr(Tuning, "step", hungry)
    assert tune("--batch", "8") == 0
    assert sizes == [8, 4, *[2] * STEPS]
    assert "--batch 2" in capsys.readouterr().out
    monkeypatch.setattr(Tuning, "step", lambda *_: (_ for _ in ()).throw(MemoryError("none")))
    assert tune("--batch", "1", "--name", "b") == 2
    one_line(capsys, "memory", "--imgsz")


def test_a_loss_that_is_not_finite_keeps_the_best(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    step = Tuning.step

    def failing(tuning: Tuning, x: torch.Tensor) -> None:
        step(tuning, x * torch.nan if tuning.steps == STEPS - 1 else x)

    monkeypatch.setattr(Tuning, "step", failing)
    assert tune() == 0
    captured = capsys.readouterr()
    assert "not finite in step 6" in captured.out and "step 4" in captured.out
    assert (folder / RESULT).is_file()
    monkeypatch.setattr(Tuning, "step", lambda t, x: step(t, x * torch.nan))
    assert tune("--name", "b") == 2
    assert "lower --lr" in capsys.readouterr().err


def test_a_goal_below_what_was_ever_reached_warns(folder: Path):
    with pytest.warns(Notice, match="expect lost objects"):
        assert tune("--set", "calibration.operations=0.1") == 0


def test_bad_options(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert run_tool("tune", "--weights", "tiny.weights") == 2
    one_line(capsys, "--images is missing")
    assert tune("--data", "set") == 2
    one_line(capsys, "give one")
    assert run_tool("tune", "--weights", "tiny.weights", "--data", "many") == 2
    one_line(capsys, "detector")
    (folder / "tiny.64.signed-digits.safetensors").unlink()
    assert tune() == 2
    one_line(capsys, "calibrate")


def test_a_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    weights, data = write_all(tmp_path)
    monkeypatch.setattr(tune_run, "FEWEST", 8)
    args = ("--weights", weights, "--data", data, "--set", "calibration.steps=2")
    assert run_tool("tune", *args, "--hold-back", "8", "--project", "runs") == 0
    assert list(weights.parent.glob(f"*{TUNED}*"))
