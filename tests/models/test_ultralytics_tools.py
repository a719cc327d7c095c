"""A checkpoint of Ultralytics through the tools: trusted or refused, opened in a process isolated,
made a safe file.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.pickles import Calls
from helpers.tiny import photo

from spiking_yolo import SpikingYOLO, UserError
from spiking_yolo.models import ultralytics as isolated
from spiking_yolo.models.load import load_ann

pytestmark = pytest.mark.slow
MAKE = """
import json, sys, torch
from ultralytics.nn.tasks import DetectionModel
conv, detect = [-1, 1, "Conv", [8, 3, 2]], [[3, 4], 1, "Detect", ["nc"]]
layers = {"backbone": [conv] * 3 + [json.loads(sys.argv[2]), [-1, 1, "Conv", [16, 3, 2]]], "head": [detect]}
torch.manual_seed(0)
model = DetectionModel({"nc": 3, "activation": "torch.nn.ReLU()", **layers}, verbose=False).eval()
model.names = {0: "cat", 1: "dog", 2: "bird"}
for score in model.model[-1].cv3:
    score[-1].bias.data.fill_(-1)
torch.save({"model": model, "train_args": {"imgsz": 64}}, sys.argv[1])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """best.pt, a detector of five layers with two heads; other.pt, with a layer that is not known
    here; and photos/.
    """
    folder = tmp_path_factory.mktemp("tools")
    for name, layer in (
        ("best", '[-1, 1, "C2f", [16, true]]'),
        ("other", '[-1, 1, "GhostConv", [16, 3, 1]]'),
    ):
        command = [sys.executable, "-c", MAKE, str(folder / f"{name}.pt"), layer]
        subprocess.run(command, env=isolated.environment(folder), check=True)
    (folder / "photos").mkdir()
    for seed in range(2):
        photo(folder / "photos" / f"{seed}.png", seed)
    return folder


@pytest.fixture
def hostile(tmp_path):
    path = tmp_path / "hostile.pt"
    torch.save({"model": Calls(os.mkdir, str(tmp_path / "executed"))}, path)
    yield path
    assert not (tmp_path / "executed").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "executed").exists(), "the trap is a dud: the test shows nothing"


def test_what_is_not_known_asks_for_trust(folder, hostile):
    with pytest.raises(
        UserError, match=r"'model\.3' \(GhostConv\) is not known here: .*--trust-weights"
    ):
        SpikingYOLO(folder / "other.pt")
    with pytest.raises(UserError, match="cannot open"):
        SpikingYOLO(hostile)


@pytest.fixture
def without_ultralytics(monkeypatch):
    """Another test of this process may have imported it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "ultralytics"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("without_ultralytics")
@pytest.mark.parametrize("trust", [False, True])
def test_what_is_known_is_opened_here_trusted_or_not(folder, trust, monkeypatch):
    monkeypatch.setattr("spiking_yolo.models.load.open_isolated", None)
    assert "--trust-weights" not in load_ann(folder / "best.pt", trust=trust).options
    assert "ultralytics" not in sys.modules


def test_even_a_trusted_checkpoint_may_hold_only_what_ultralytics_knows(hostile):
    with pytest.raises(UserError, match=r"cannot open .*hostile\.pt"):
        SpikingYOLO(hostile, trust=True)


def test_the_file_that_is_named_is_opened(folder: Path, tmp_path: Path):
    """Ultralytics takes yolov5nu.pt where it is asked for yolov5n.pt, and leaves apostrophes out of
    paths.
    """
    place = tmp_path / "Bob's"
    place.mkdir()
    (place / "yolov5n.pt").write_bytes((folder / "other.pt").read_bytes())
    (place / "yolov5nu.pt").write_bytes((folder / "best.pt").read_bytes())
    graph, _ = isolated.open_isolated(place / "yolov5n.pt")
    assert any("model_3_cv2" in node.name for node in graph.nodes)
    (place / "noise.pt").write_bytes(b"noise")
    with pytest.raises(UserError, match=r"Ultralytics cannot open .*Bob's/noise\.pt"):
        isolated.open_isolated(place / "noise.pt")
