"""What the verb train says when it is done."""

from pathlib import Path

import pytest

from spiking_yolo.apps.train import next_commands, outcome
from spiking_yolo.train.options import TrainOptions

LAST = {"epoch": 4.0, "loss": 0.25}
BEST = {"epoch": 3.0, "loss": 0.5, "mAP50": 30.0, "precision": 71.0}


def test_the_outcome_says_which_epoch_and_why():
    said = outcome(Path("r/best.safetensors"), LAST, BEST)
    assert "best.safetensors is of epoch 3, the best by validation: mAP50 30.0 %, P 71.0 %" in said
    said = outcome(Path("last.safetensors"), LAST, None)
    assert said == "last.safetensors is of the last epoch, 4: no epoch was validated"


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
