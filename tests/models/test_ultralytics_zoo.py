"""Public checkpoints against Ultralytics' own forward pass: raw heads, two heads, boxes without
suppression.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spiking_yolo.errors import UserError
from spiking_yolo.graph import forward
from spiking_yolo.io.tensors import read_safetensors
from spiking_yolo.models import ultralytics as isolated
from spiking_yolo.models.load import load_ann

ROOT = Path(__file__).parents[2]
ZOO = ROOT.parent / "shared" / "zoo"
# Softmax neurons, and whether it has two heads.
NETWORKS = {
    "yolov8n": (0, False),
    "yolov10n": (1, True),
    "yolo11n": (1, False),
    "yolo26n": (2, True),
}
HEIGHT, WIDTH = 192, 256


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What tests/helpers/ultralytics_zoo.py writes."""
    folder = tmp_path_factory.mktemp("zoo")
    script = ROOT / "tests" / "helpers" / "ultralytics_zoo.py"
    paths = [path for name in NETWORKS if (path := ZOO / f"{name}.pt").is_file()]
    photograph = ROOT / "data" / "samples" / "dog.jpg"
    subprocess.run(
        [sys.executable, script, folder, photograph, *paths],
        env=isolated.environment(folder),
        check=True,
    )
    return folder


@pytest.fixture(params=NETWORKS)
def name(request):
    if not (ZOO / f"{request.param}.pt").is_file():
        pytest.skip(f"{request.param}.pt (AGPL) is not at hand and not shipped")
    return request.param


def test_it_opens_without_trust(name):
    ann = load_ann(ZOO / f"{name}.pt")
    softmax, two = NETWORKS[name]
    assert sum(node.phi.softmax for node in ann.graph.activations) == softmax
    assert ann.imgsz == (640, 640) and ann.spec.nms != two and ann.options == ()
    assert len(ann.spec.names) == 80 and ann.spec.names[16] == "dog"


def test_raw_heads_are_those_of_ultralytics(name, folder):
    two = NETWORKS[name][1]
    path = (folder if two else ZOO) / f"{name}.pt"
    theirs = read_safetensors(folder / f"{name}.safetensors")[1]
    for head in ("one2one", "one2many") if two else (None,):
        ann = load_ann(path, imgsz=(HEIGHT, WIDTH), head=head)
        outputs = forward(ann.graph.to(torch.float64), theirs["x"].double())
        assert [WIDTH // y.shape[3] for y in outputs] == [8, 16, 32]
        raw = torch.cat([y.flatten(2) for y in outputs], 2)
        # Folded batch norms are rounded to float32, and some values are near 100.
        torch.testing.assert_close(raw, theirs[head or "one2many"], rtol=1e-5, atol=1e-4)
    if two:
        # The file's heads are copies, ours of these differ.
        assert (theirs["one2one"] - theirs["one2many"]).abs().max() > 0.1


def test_a_network_of_one_head_has_no_other():
    if not (ZOO / "yolov8n.pt").is_file():
        pytest.skip("yolov8n.pt (AGPL) is not at hand and not shipped")
    with pytest.raises(UserError, match=r"one head alone, .*: leave it out"):
        load_ann(ZOO / "yolov8n.pt", head="one2many")
