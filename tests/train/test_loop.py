"""The loop on a classifier of a few weights: schedules, resuming after a kill, mistakes."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spiking_yolo.data.datasets import LabelledSet
from spiking_yolo.data.images import Picture
from spiking_yolo.errors import UserError
from spiking_yolo.train import TrainOptions
from spiking_yolo.train.run import WARMUP, Row, Trainer, learning_rate, make_optimizer
from spiking_yolo.train.tasks import ClassifyTask


def tiny() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.LeakyReLU(0.1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(4, 2),
    )


def task() -> ClassifyTask:
    """Bright against dark images."""
    labels = np.arange(32) % 2
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 100, (32, 8, 8, 3)) + labels[:, None, None, None] * 150).astype("u1")
    pictures = [Picture(str(i), image) for i, image in enumerate(images)]
    data = LabelledSet("drawn", ("dark", "bright"), pictures, labels)
    return ClassifyTask(data, data)


def options(folder: Path, **changed: Any) -> TrainOptions:
    given = {"epochs": 4, "lr": 0.05, "workers": 0, **changed}
    return TrainOptions(
        task="classify",
        model="m",
        batch=8,
        data=Path("d"),
        project=folder.parent,
        name=folder.name,
        **given,
    )


def run(folder: Path, resume: bool = False, stop: int = 99, **changed: Any) -> list[Row]:
    """Train; stop: the epoch within which it is interrupted."""
    trainer = Trainer(tiny(), task(), options(folder, **changed))
    if resume:
        trainer.load()

    def interrupt(epoch: str, done: int, total: int) -> None:
        if epoch.startswith(f"epoch {stop}/") and done == 2:
            raise KeyboardInterrupt

    trainer.run(progress=interrupt)
    return trainer.rows


def test_resuming_gives_the_same_curve(tmp_path):
    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", stop=3)
    assert run(tmp_path / "cut", resume=True) == whole
    with open(tmp_path / "cut" / "results.csv") as f:
        rows = list(csv.DictReader(f))
    assert [float(r["loss"]) for r in rows] == pytest.approx([r["loss"] for r in whole], rel=1e-5)
    assert [bool(r["top1"]) for r in rows] == [False, False, False, True]


def test_learns(tmp_path):
    rows = run(tmp_path / "a")
    assert rows[-1]["loss"] < rows[0]["loss"] and rows[-1]["top1"] > 90


def test_learning_rate_by_hand():
    for progress, rate in ((0.0, 0.01), (0.1, 0.505), (0.2, 1.0), (0.6, 0.505), (1.0, 0.01)):
        assert learning_rate(progress, 2.0, 0.2) == pytest.approx(2 * rate)


@pytest.mark.parametrize(("task", "decay"), [("classify", 5e-4), ("detect", 0.05)])
def test_weight_decay_spares_vectors(task, decay):
    decayed, spared = make_optimizer(tiny(), task).param_groups
    assert [p.ndim for p in decayed["params"]] == [4, 2] and decayed["weight_decay"] == decay
    assert {p.ndim for p in spared["params"]} == {1} and spared["weight_decay"] == 0


def test_a_loss_that_explodes_is_a_user_error(tmp_path, monkeypatch):
    monkeypatch.setitem(WARMUP, "classify", 0.0)
    with pytest.raises(UserError, match="lower --lr"):
        run(tmp_path / "a", lr=1e9)


@pytest.mark.parametrize("option", [{"lr": 0.1}, {"seed": 1}, {"epochs": 2}])
def test_going_on_with_other_options_is_refused(tmp_path, option):
    run(tmp_path / "a", epochs=1)
    (name,) = option
    with pytest.raises(UserError, match=rf"was trained with other options \({name}\)"):
        run(tmp_path / "a", resume=True, **{"epochs": 1, **option})


@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_a_damaged_state_is_named(tmp_path, keep):
    run(tmp_path / "a", epochs=1)
    path = tmp_path / "a" / "state.pt"
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(UserError, match=r"state\.pt is damaged"):
        run(tmp_path / "a", resume=True, epochs=1)


def test_the_best_epoch(tmp_path):
    trainer = Trainer(tiny(), task(), options(tmp_path / "a"))
    assert trainer.best is None
    trainer.rows = [{"top1": 12.3}, {}, {"top1": 30.0}, {"top1": 30.0}, {"top1": 29.9}]
    assert trainer.best is trainer.rows[3]
