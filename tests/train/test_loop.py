"""The loop on a classifier of a few weights: schedules, resuming after a kill, mistakes."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spiking_yolo.errors import UserError
from spiking_yolo.train import TrainOptions
from spiking_yolo.train.classify import ClassifyTask, classifier_spec
from spiking_yolo.train.loop import (
    WARMUP,
    Batches,
    Rows,
    Trainer,
    best_row,
    learning_rate,
    make_optimizer,
)

CPU = torch.device("cpu")


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


def task(seed: int = 0) -> ClassifyTask:
    """Bright against dark images."""
    labels = np.arange(32) % 2
    rng = np.random.default_rng(0)
    images = rng.integers(0, 100, (32, 8, 8, 3)) + labels[:, None, None, None] * 150
    data = (images.astype(np.uint8), labels)
    spec = classifier_spec(("dark", "bright"), 8, 8)
    return ClassifyTask(train=data, val=data, spec=spec, batch=8, count=32, seed=seed)


def options(folder: Path, **changed: Any) -> TrainOptions:
    given = {"epochs": 4, "lr": 0.05, "val_every": 2, **changed}
    return TrainOptions(
        task="classify",
        model="m",
        batch=8,
        data=Path("d"),
        project=folder.parent,
        name=folder.name,
        **given,
    )


def run(folder: Path, resume: bool = False, stop: int = 99, **changed: Any) -> Rows:
    """Train; stop: the epoch within which it is interrupted."""
    trainer = Trainer(tiny(), task(), options(folder, **changed), CPU)
    if resume:
        trainer.load()

    def interrupt(epoch: str, done: int, total: int) -> None:
        if epoch.startswith(f"epoch {stop}/") and done == 2:
            raise KeyboardInterrupt

    return trainer.run(progress=interrupt)


def test_resuming_gives_the_same_curve(tmp_path):
    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", stop=3)
    assert run(tmp_path / "cut", resume=True) == whole
    with open(tmp_path / "cut" / "results.csv") as f:
        rows = list(csv.DictReader(f))
    assert [float(r["loss"]) for r in rows] == pytest.approx([r["loss"] for r in whole], rel=1e-5)
    assert [bool(r["top1"]) for r in rows] == [False, True, False, True]


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


def test_order_is_a_seeded_permutation_shared_among_ranks():
    assert sorted(i for batch in batches(10, 5).epoch(0) for i in batch) == list(range(10))
    assert batches(10, 5).epoch(0) == batches(10, 5).epoch(0) != batches(10, 5).epoch(1)
    parts = [batches(11, 3, seed=3, rank=rank, world=3).epoch(5) for rank in range(3)]
    assert [[len(batch) for batch in part] for part in parts] == [[3]] * 3
    assert len({i for part in parts for batch in part for i in batch}) == 9
    assert [len(batch) for batch in batches(7, 3).epoch(0)] == [3, 3]
    assert batches(1, 3).epoch(0) == [[0]]


def batches(count: int, size: int, **more: int) -> Batches:
    return Batches(count=count, batch=size, **more)


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


def test_a_state_of_another_network_is_refused(tmp_path):
    run(tmp_path / "a", epochs=1)
    trainer = Trainer(nn.Linear(2, 2), task(), options(tmp_path / "a", epochs=1), CPU)
    with pytest.raises(UserError, match="or of another network"):
        trainer.load()


ROWS = [
    {"epoch": 1.0, "loss": 2.5, "mAP50": 12.34},
    {"epoch": 2.0, "loss": 1.25},
    {"epoch": 3.0, "loss": 0.5, "mAP50": 30.0},
    {"epoch": 4.0, "loss": 0.25, "mAP50": 29.9},
]


def test_the_best_epoch():
    assert best_row(ROWS) is ROWS[2]
    assert best_row(ROWS[1:2]) is None and best_row([]) is None
    equal = [{"top1": 100.0, "epoch": k} for k in (1.0, 2.0)]
    assert best_row(equal) is equal[1]
