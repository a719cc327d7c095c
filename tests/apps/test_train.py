"""What the verb train says when it is done."""

from pathlib import Path

from spiking_yolo.apps.train import outcome

LAST = {"epoch": 4.0, "loss": 0.25}
BEST = {"epoch": 3.0, "loss": 0.5, "mAP50": 30.0}


def test_the_outcome_says_which_epoch_and_why():
    said = outcome(Path("r/best.safetensors"), LAST, BEST)
    assert "best.safetensors is of epoch 3, the best by validation: mAP50 30.0 %" in said
    said = outcome(Path("last.safetensors"), LAST, None)
    assert said == "last.safetensors is of the last epoch, 4: no epoch was validated"
