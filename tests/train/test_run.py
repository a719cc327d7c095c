"""A training from its options to the files that it leaves, on squares of two colours."""

import csv
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from helpers.checkpoints import read_provenance
from helpers.classifying import write_image
from helpers.tiny import ROOT

from spiking_yolo.cli import call as call_cli
from spiking_yolo.convert.load import load
from spiking_yolo.errors import UserError
from spiking_yolo.models.load import load_checkpoint
from spiking_yolo.train import TrainOptions
from spiking_yolo.train.run import Trained, open_task, train

COLOURS = {0: (255, 0, 0), 1: (0, 255, 0)}


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """A folder {train,test}/CLASS of 4 images each."""
    for split in ("train", "test"):
        for label, colour in COLOURS.items():
            folder = tmp_path / "data" / split / f"class{label}"
            folder.mkdir(parents=True)
            for i in range(4):
                cv2.imwrite(str(folder / f"{i}.png"), np.full((32, 32, 3), colour, np.uint8))
    return tmp_path / "data"


def options(data: Path, **changed: object) -> TrainOptions:
    given = {"epochs": 1, "batch": 4, "device": "cpu", "project": data.parent / "runs", **changed}
    return TrainOptions(task="classify", model="resnet20", data=data, **given)  # pyright: ignore[reportArgumentType]


def trained(*arguments: object, **changed: object) -> Trained:
    result = train(*arguments, **changed)  # pyright: ignore[reportArgumentType]
    assert result is not None
    return result


def epochs_done(path: Path) -> int:
    return read_provenance(path)["epochs_done"]


def test_files_of_a_training(squares: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A loadable checkpoint, and no silent overwriting."""
    assert trained(options(squares), "python tools/train.py").weights.name == "best.safetensors"
    folder = squares.parent / "runs" / "exp"
    files = {"best.safetensors", "last.safetensors", "state.pt", "results.csv"}
    assert files <= {p.name for p in folder.iterdir()}
    model, spec = load_checkpoint(folder / "last.safetensors")
    assert spec.names == ("class0", "class1") and model(torch.rand(1, 3, 32, 32)).shape == (1, 2)
    assert read_provenance(folder / "last.safetensors")["command"] == "python tools/train.py"
    where = ("--data", str(squares), "--project", str(squares.parent / "runs"))
    capsys.readouterr()
    assert call_cli(["train", "--task", "classify", "--model", "resnet20", *where]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and "--resume" in said
    # It has nothing left to do.
    assert trained(options(squares, resume=folder)).best["epoch"] == 1
    assert epochs_done(folder / "last.safetensors") == 1
    with pytest.raises(UserError, match="--resume FOLDER"):
        train(options(squares, resume=squares.parent))


def test_the_best_epoch_is_kept(squares: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = iter([50.0, 75.0, 75.0, 25.0])
    monkeypatch.setattr("spiking_yolo.train.tasks.ClassifyTask.score", lambda *_: next(figures))
    monkeypatch.setattr("spiking_yolo.train.run.VALIDATED", 1)
    folder = squares.parent / "runs" / "exp"
    said: list[str] = []
    result = trained(options(squares, epochs=4), say=said.append)
    assert result.weights == folder / "best.safetensors" and result.best["epoch"] == 3
    assert (epochs_done(result.weights), epochs_done(folder / "last.safetensors")) == (3, 4)
    assert said[0] == "training: 8 images, validation: 8" and said[-1].endswith("top1 25.0 %")


@pytest.mark.slow
def test_the_command_calibrates_and_says_what_comes_next(squares, monkeypatch, capsys):
    monkeypatch.setattr("spiking_yolo.convert.calibrate.by_gradient", lambda _, neurons: neurons)
    command = ["train", "--task", "classify", "--model", "resnet20", "--device", "cpu"]
    command += ["--epochs", "1", "--batch", "4"]
    command += ["--data", str(squares), "--project", str(squares.parent / "runs")]
    assert call_cli(command) == 0
    lines = capsys.readouterr().out.splitlines()
    weights = squares.parent / "runs" / "exp" / "best.safetensors"
    assert lines[0] == "training: 8 images, validation: 8"
    assert lines[2].startswith("epoch 1/1: loss ") and lines[2].endswith(" %")
    assert lines[3].startswith(f"{weights} is of epoch 1, top1 ")
    assert lines[-3].startswith("statistics of 8 images: saved to ")
    assert lines[-2] == "looking for thresholds" and "signed-digits" in lines[-1]
    # Which wants the statistics and the file of the default method.
    load(weights)
    monkeypatch.setattr("spiking_yolo.apps.calibrate.run.calibrate_trained", refuse)
    assert call_cli([*command, "--name", "refused"]) == 1
    out, err = capsys.readouterr()
    assert err == "not calibrated: no\n" and "calibrating on training images" in out
    assert call_cli([*command, "--name", "plain", "--no-calibrate"]) == 0
    assert not list((squares.parent / "runs" / "plain").glob("*.statistics.*"))


def refuse(*_: object) -> None:
    raise UserError("no")


def test_classes_that_differ_are_refused(squares: Path):
    """A label is a position among them. The best epoch is that of val, if there is one."""
    shutil.copytree(squares / "test", squares / "val")
    assert open_task(options(squares))[0].val.name.endswith("val")
    shutil.rmtree(squares / "val")
    shutil.rmtree(squares / "test" / "class0")
    with pytest.raises(UserError, match="other classes"):
        open_task(options(squares))


@pytest.mark.parametrize(
    ("model", "size"), [("vgg16", (28, 28)), ("resnet20", (4, 4)), ("resnet20", (1040, 16))]
)
def test_images_that_do_not_fit(squares: Path, model: Any, size: tuple[int, int]):
    for path in squares.rglob("*.png"):
        cv2.imwrite(str(path), np.zeros((*size, 3), np.uint8))
    with pytest.raises(UserError, match="does not take images of"):
        train(replace(options(squares), model=model))


def test_data_without_splits():
    coco = TrainOptions(
        task="detect",
        model="yolov1",
        data=ROOT / "data" / "samples" / "instances.json",
        imgsz=(64, 96),
    )
    task, pictures = open_task(coco)
    assert len(pictures) == len(task) == 5 and "dog" in task.spec.names


@pytest.mark.slow
def test_two_processes_make_one_checkpoint(tmp_path):
    for split in ("train", "test"):
        for k in range(16):
            write_image(tmp_path / "data" / split / ("cat", "dog")[k % 2] / f"{k}.png", k)
    launcher = "-m torch.distributed.run --standalone --nproc-per-node 2"
    command = [sys.executable, *launcher.split()]
    command += [str(ROOT / "tools" / "train.py"), "--data", str(tmp_path / "data")]
    command += ["--project", str(tmp_path / "runs"), "--no-calibrate"]
    command += [
        "--task",
        "classify",
        "--model",
        "resnet20",
        "--epochs",
        "2",
        "--batch",
        "4",
        "--lr",
        "0.01",
    ]
    command += ["--device", "cpu"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    # The first one speaks.
    assert (
        done.stdout.count("training: 16 images, validation: 16")
        == done.stdout.count("epoch 2/2: ")
        == 1
    )
    best, checkpoint = sorted(tmp_path.rglob("*.safetensors"))
    assert checkpoint == tmp_path / "runs" / "exp" / "last.safetensors"
    assert best == checkpoint.with_stem("best")
    model, spec = load_checkpoint(checkpoint)
    assert spec.names == ("cat", "dog") and all(p.isfinite().all() for p in model.parameters())
    # 16 images in batches of 4 in each of 2 processes are 2 steps an epoch: each process saw half
    # of the images.
    state = torch.load(tmp_path / "runs" / "exp" / "state.pt", weights_only=True)
    assert int(state["average"]["n_averaged"]) == 2 * 2
    assert read_provenance(checkpoint)["epochs_done"] == 2
    with open(tmp_path / "runs" / "exp" / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"] and rows[1]["top1"]
