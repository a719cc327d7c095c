"""The loop on a classifier of a few weights: schedules, resuming after a kill, mistakes."""

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from spiking_yolo.errors import UserError
from spiking_yolo.train.checkpoint import Batches
from spiking_yolo.train.classify import ClassifyTask, classifier_spec
from spiking_yolo.train.loop import Settings, fit, learning_rate, make_optimizer, set_slope

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


def tiny() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.LeakyReLU(0.1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


def task(seed: int = 0) -> ClassifyTask:
    """Bright against dark images."""
    labels = np.arange(32) % 2
    images = (
        np.random.default_rng(0).integers(0, 100, (32, 8, 8, 3)) + labels[:, None, None, None] * 150
    )
    data = (images.astype(np.uint8), labels)
    return ClassifyTask(
        train=data,
        val=data,
        spec=classifier_spec(("dark", "bright"), 8, 8),
        batch=8,
        seed=seed,
        hole=2,
    )


def run(folder: Path, epochs: int = 4, resume: bool = False, **options) -> list[dict[str, float]]:
    settings = Settings(epochs=4, lr=0.05, **options)
    limited = task()
    if epochs < 4:  # a kill in the middle of the next epoch
        original = limited.batches

        def stop(epoch, first=0):
            for i, batch in enumerate(original(epoch, first)):
                if epoch == epochs and i == 2:
                    raise KeyboardInterrupt
                yield batch

        limited.batches = stop
    return fit(tiny(), limited, settings, folder, CPU, resume)[1]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_resuming_gives_the_same_curve(tmp_path, optimizer):
    options = {"optimizer": optimizer, "anneal": 0.5, "val_every": 2}
    whole = run(tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", epochs=2, **options)
    assert run(tmp_path / "cut", resume=True, **options) == whole
    with open(tmp_path / "cut" / "results.csv") as f:
        rows = list(csv.DictReader(f))
    assert [float(r["loss"]) for r in rows] == pytest.approx([r["loss"] for r in whole], rel=1e-5)
    assert [bool(r["top1"]) for r in rows] == [False, True, False, True]


def test_learns(tmp_path):
    rows = run(tmp_path)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["top1"] > 90


def test_learning_rate_by_hand():
    settings = Settings(epochs=1, lr=1.0, warmup=0.2)
    assert learning_rate(0.0, settings) == pytest.approx(0.01)
    assert learning_rate(0.1, settings) == pytest.approx(0.505)
    assert learning_rate(0.2, settings) == pytest.approx(1.0)
    assert learning_rate(0.6, settings) == pytest.approx(0.01 + 0.99 / 2)
    assert learning_rate(1.0, settings) == pytest.approx(0.01)
    assert learning_rate(0.0, Settings(epochs=1, lr=1.0, warmup=0.0)) == pytest.approx(1.0)


def test_weight_decay_spares_vectors():
    decayed, spared = make_optimizer(tiny(), Settings(epochs=1, lr=1.0)).param_groups
    assert [p.ndim for p in decayed["params"]] == [4, 2]
    assert {p.ndim for p in spared["params"]} == {1} and spared["weight_decay"] == 0


def test_annealing_ends_in_a_relu(tmp_path):
    model, _ = fit(tiny(), task(), Settings(epochs=2, lr=0.01, anneal=0.5), tmp_path, CPU)
    leaky = next(m for m in model.modules() if isinstance(m, nn.LeakyReLU))
    assert leaky(torch.tensor(-1.0)).item() == 0
    set_slope(model, 0.3)
    assert leaky(torch.tensor(-1.0)).item() == pytest.approx(-0.3)


def test_a_loss_that_explodes_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="lower --lr"):
        fit(
            tiny(),
            task(),
            Settings(epochs=3, lr=1e30, warmup=0, clip=1e30, optimizer="sgd"),
            tmp_path,
            CPU,
        )


def test_a_state_of_another_network_is_refused(tmp_path):
    run(tmp_path)
    with pytest.raises(UserError, match="another"):
        fit(nn.Linear(2, 2), task(), Settings(epochs=5, lr=0.1), tmp_path, CPU, resume=True)


def test_order_is_a_seeded_permutation_shared_among_ranks():
    assert sorted(i for batch in batches(10, 5).epoch(0) for i in batch) == list(range(10))
    assert batches(10, 5).epoch(0) == batches(10, 5).epoch(0) != batches(10, 5).epoch(1)
    parts = [batches(11, 3, seed=3, rank=rank, world=3).epoch(5) for rank in range(3)]
    assert [[len(batch) for batch in part] for part in parts] == [[3]] * 3
    assert len({i for part in parts for batch in part for i in batch}) == 9
    whole = batches(7, 3)
    assert [len(batch) for batch in whole.epoch(0)] == [3, 3] and whole.epoch(0)[1:] == whole.epoch(
        0, first=1
    )
    assert batches(1, 3).epoch(0) == [[0]]


def batches(count: int, size: int, **more: int) -> Batches:
    made = Batches(batch=size, **more)
    made.count = count
    return made


SCRIPT = """
import sys; sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from test_loop import Settings, fit, tiny, task, CPU
import time
slow = task(); original = slow.batches
def batches(epoch, first=0):
    for batch in original(epoch, first):
        time.sleep(0.05)
        yield batch
slow.batches = batches
fit(tiny(), slow, Settings(epochs=6, lr=0.05), Path({folder!r}), CPU)
"""


def test_survives_kill_9(tmp_path):
    """A process killed without warning leaves a state from which the curve goes on as if nothing
    had happened.
    """

    settings = Settings(epochs=6, lr=0.05)
    whole = fit(tiny(), task(), settings, tmp_path / "whole", CPU)[1]
    folder = tmp_path / "cut"
    code = SCRIPT.format(root=str(ROOT), tests=str(ROOT / "tests" / "train"), folder=str(folder))
    killed = subprocess.Popen([sys.executable, "-c", code])
    while not (folder / "results.csv").exists():
        assert killed.poll() is None
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert len((folder / "results.csv").read_text().splitlines()) < 6
    rows = fit(tiny(), task(), settings, folder, CPU, resume=True)[1]
    assert [r["loss"] for r in rows] == pytest.approx([r["loss"] for r in whole], rel=1e-6)


def test_a_resumed_epoch_does_only_what_is_left(tmp_path):
    """Killed after the first two of four steps: the third is the first one to be drawn again, and
    the sums of the loss go on. Dropout draws what it would have drawn.
    """

    def dropping() -> nn.Sequential:
        return nn.Sequential(*tiny()[:-1], nn.Dropout(), nn.Linear(4, 2))

    settings = Settings(epochs=1, lr=0.05, save_every=0)
    limited, drawn = task(), []
    original = limited.batches

    def stop(epoch, first=0):
        for k, batch in enumerate(original(epoch, first)):
            drawn.append(first + k)
            if drawn == [0, 1, 2]:
                raise KeyboardInterrupt
            yield batch

    limited.batches = stop
    with pytest.raises(KeyboardInterrupt):
        fit(dropping(), limited, settings, tmp_path / "cut", CPU)
    assert not (tmp_path / "cut" / "results.csv").exists()
    model, rows = fit(dropping(), limited, settings, tmp_path / "cut", CPU, resume=True)
    assert drawn == [0, 1, 2, 2, 3]
    whole, expected = fit(dropping(), task(), settings, tmp_path / "whole", CPU)
    assert rows == expected
    torch.testing.assert_close(model.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_an_epoch_that_is_not_finished_exports_nothing(tmp_path):
    """The averaged weights are beyond those of the last row then."""
    settings = Settings(epochs=2, lr=0.05, save_every=0)
    limited, exported = task(), []
    original = limited.batches

    def stop(epoch, first=0):
        for k, batch in enumerate(original(epoch, first)):
            if (epoch, k) == (1, 2):
                raise KeyboardInterrupt
            yield batch

    limited.batches = stop
    with pytest.raises(KeyboardInterrupt):
        fit(tiny(), limited, settings, tmp_path, CPU)
    limited.batches = original
    fit(tiny(), limited, settings, tmp_path, CPU, True, lambda _, rows: exported.append(len(rows)))
    assert exported == [2]


def test_going_on_for_longer_is_said_and_takes_the_rate_of_the_longer_training(tmp_path):
    settings, said = Settings(epochs=2, lr=0.05), []
    fit(tiny(), task(), settings, tmp_path, CPU)
    longer = replace(settings, epochs=4)
    rows = fit(tiny(), task(), longer, tmp_path, CPU, resume=True, say=said.append)[1]
    assert [row["lr"] for row in rows[2:]] == [
        learning_rate((epoch + 3 / 4) / 4, longer) for epoch in (2, 3)
    ]
    assert said[0].startswith(
        "going on after 2 epochs and 0 of 4 steps, for 4 epochs instead of 2: the learning rate goes"
    )
    said.clear()
    fit(tiny(), task(), longer, tmp_path, CPU, resume=True, say=said.append)
    assert said == ["going on after 4 epochs and 0 of 4 steps"]
    with pytest.raises(UserError, match="is in epoch 4 already: give --epochs 4 or more"):
        fit(tiny(), task(), replace(settings, epochs=3), tmp_path, CPU, resume=True)


def test_slopes_that_have_gone_do_not_come_back(tmp_path):
    settings = Settings(epochs=2, lr=0.05, anneal=0.5)
    fit(tiny(), task(), settings, tmp_path, CPU)
    with pytest.raises(UserError, match="--anneal is a share of them: go on with 2"):
        fit(tiny(), task(), replace(settings, epochs=4), tmp_path, CPU, resume=True)
