"""tools/train.py under torchrun: two processes on the CPU make one checkpoint."""

import csv
import os
import subprocess
import sys

import pytest
import torch
from helpers.checkpoints import read_provenance
from helpers.classifying import write_image
from helpers.tiny import ROOT

from spiking_yolo.models.load import load_checkpoint


@pytest.mark.slow
def test_two_processes_make_one_checkpoint(tmp_path):
    for split in ("train", "test"):
        for k in range(16):
            write_image(tmp_path / "data" / split / ("cat", "dog")[k % 2] / f"{k}.png", k)
    command = [
        sys.executable,
        *["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    ]
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
