"""What a training says, and which of its epochs is the best."""

from pathlib import Path

import pytest
from torch import nn

from spiking_yolo.apps.train import next_commands, outcome
from spiking_yolo.models.yolov1 import yolov1_spec
from spiking_yolo.train.checkpoint import best_row, epoch_line
from spiking_yolo.train.options import TrainOptions
from spiking_yolo.train.run import noted, opening

ROWS = [
    {"epoch": 1.0, "loss": 2.5, "mAP50": 12.34, "precision": 60.0, "recall": 40.04},
    {"epoch": 2.0, "loss": 1.25},
    {"epoch": 3.0, "loss": 0.5, "mAP50": 30.0, "precision": 71.0, "recall": 52.0},
    {"epoch": 4.0, "loss": 0.25, "mAP50": 29.9, "precision": 80.0, "recall": 50.0},
]


def test_what_was_read():
    spec = yolov1_spec(("a", "b", "c", "d", "e", "f"), (64, 96))
    lines = opening({"training": "2 images, 3 objects"}, spec, nn.Linear(999, 20), "yolov1", "cpu")
    assert lines == [
        "training: 2 images, 3 objects",
        "6 classes: a, b, c, d, e, ...",
        "yolov1: 0.02 M parameters, input 64x96, on cpu",
    ]
    assert noted(["x"]) == ["note: x"]
    assert noted(list("123456789"))[-2:] == ["note: 5", "note: and 4 more of this kind"]


def test_epochs():
    assert epoch_line(ROWS[0], 40) == "epoch 1/40: loss 2.5, mAP50 12.3 %, P 60.0 %, R 40.0 %"
    assert epoch_line(ROWS[1], 40) == "epoch 2/40: loss 1.25"
    assert (
        epoch_line({"epoch": 1.0, "loss": 1.0, "top1": 9.0}, 1) == "epoch 1/1: loss 1, top-1 9.0 %"
    )


def test_the_best_epoch():
    assert best_row(ROWS) is ROWS[2]
    assert best_row(ROWS[1:2]) is None and best_row([]) is None
    assert best_row([{"top1": 100.0, "epoch": k} for k in (1.0, 2.0)]) == {
        "top1": 100.0,
        "epoch": 2.0,
    }


def test_the_outcome_says_which_epoch_and_why():
    assert (
        "best.safetensors is of epoch 3, the best by validation: mAP50 30.0 %, P 71.0 %"
        in outcome(Path("r/best.safetensors"), ROWS[-1], ROWS[2])
    )
    assert outcome(Path("last.safetensors"), ROWS[-1], None) == (
        "last.safetensors is of the last epoch, 4: no epoch was validated"
    )
    assert "no best.safetensors any more" in outcome(Path("last.safetensors"), ROWS[-1], ROWS[2])


@pytest.mark.parametrize("task", ["detect", "classify"])
@pytest.mark.parametrize("calibrated", [False, True])
def test_next_commands_have_real_paths(tmp_path, monkeypatch, task, calibrated):
    monkeypatch.setattr("sys.argv", ["spiking-yolo"])
    (tmp_path / "VOC2012").mkdir()
    data = {"detect": tmp_path, "classify": "c 10.tar"}[task]
    options = TrainOptions(
        task=task,
        model={"detect": "yolov1", "classify": "m"}[task],
        data=data,
        val_split={"detect": "val", "classify": "test"}[task],
    )
    lines = next_commands(
        options, Path("r/best.safetensors"), "photos/a.jpg", calibrated
    ).splitlines()
    network = "--weights r/best.safetensors"
    expected = {
        "detect": [
            f"next: spiking-yolo calibrate {network} --images photos --limit 128",
            f"next: spiking-yolo eval {network} --data {tmp_path} --year 2012",
            f"next: spiking-yolo detect photos/a.jpg {network}",
        ],
        "classify": [
            f"next: spiking-yolo calibrate {network} --data 'c 10.tar'",
            f"next: spiking-yolo eval {network} --data 'c 10.tar' --split test",
            f"next: spiking-yolo export {network} --output r/spiking.safetensors",
        ],
    }[task]
    assert lines == expected[calibrated:]
