"""A checkpoint of Ultralytics through the tools: trusted or refused, opened in a process isolated,
made a safe file.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny import photo, run_tool

from spiking_yolo import SpikingYOLO, UserError
from spiking_yolo.models import ultralytics as isolated
from spiking_yolo.models.load import load_ann

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

WATCH = """
import os, sys
allowed = (os.environ["YOLO_CONFIG_DIR"], "/dev/null")
def watch(event, args):
    written = event == "open" and args[2] & 3 and not str(args[0]).startswith(allowed) and "pycache" not in str(args[0])
    if written or event in ("socket.connect", "socket.getaddrinfo"):
        os.write(log, f"{event} {args[0]}\\n".encode())
log = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(log, b"watching\\n")
sys.addaudithook(watch)
"""


class Hostile:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


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
    torch.save({"model": Hostile(tmp_path / "executed")}, path)
    yield path
    assert not (tmp_path / "executed").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "executed").exists(), "the trap is a dud: the test shows nothing"


@pytest.mark.parametrize(
    ("tool", "args"),
    [
        ("detect", ["D/0.png", "--weights"]),
        ("export", ["-o", "net.safetensors", "--weights"]),
        ("export", ["-o", "net.safetensors"]),
        ("calibrate", ["--images", "D", "--weights"]),
        ("eval_coco", ["--weights"]),
        ("analyze", ["--weights"]),
    ],
)
def test_a_hostile_checkpoint_is_not_opened_unless_trusted(
    folder, hostile, tool, args, capsys, monkeypatch
):
    monkeypatch.chdir(hostile.parent)
    args = [str(a).replace("D", str(folder / "photos"), 1) if a[0] == "D" else a for a in args]
    assert run_tool(tool, *args, hostile) == 2
    err = capsys.readouterr().err
    assert (
        "cannot open" in err
        and "posix.mkdir, which no detector needs" in err
        and len(err.splitlines()) == 1
    )


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


@pytest.mark.usefixtures("without_ultralytics")
def test_from_a_checkpoint_to_a_safe_file(folder, tmp_path, capsys, monkeypatch):
    """The command in the message makes the statistics; the converted file needs neither trust nor
    checkpoint.
    """
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("WATCH_LOG", str(tmp_path / "log"))
    threads, net = torch.get_num_threads(), tmp_path / "net.safetensors"
    convert = (
        "export",
        folder / "other.pt",
        "--trust-weights",
        "--method",
        "dcgs",
        "-o",
        net,
    )
    assert run_tool(*convert) == 2
    command = re.search(r"spiking-yolo calibrate (.*)", capsys.readouterr().err)
    assert command and "--trust-weights" in command[1] and command[1].endswith("--method msat-plus")
    assert (
        run_tool("calibrate", *shlex.split(command[1].replace("DIR", str(folder / "photos")))) == 0
    )
    assert run_tool(*convert) == 0
    # No network, nothing written elsewhere.
    assert (tmp_path / "log").read_text() == "watching\n" * 3
    assert "ultralytics" not in sys.modules and torch.get_num_threads() == threads

    image = folder / "photos" / "0.png"
    expected = SpikingYOLO(folder / "other.pt", "dcgs", trust=True).detect(image, T=8, conf=0.01)
    (folder / "other.pt").rename(folder / "gone.pt")
    detector = SpikingYOLO(net)
    found = detector.detect(image, T=8, conf=0.01)
    assert len(found.xyxy) and np.array_equal(found.xyxy, expected.xyxy)
    assert detector.names == ("cat", "dog", "bird")
    assert (
        run_tool("detect", image, "--weights", net, "--T", 2, "--project", tmp_path / "runs") == 0
    )


def test_weights_are_given_once_and_names_are_in_the_checkpoint(folder, tmp_path, capsys):
    for args, expected in (
        (["a.pt", "--weights", "b.pt"], "once"),
        (["a.pt", "--trust-weights", "--names", "n"], "leave out --names"),
    ):
        (tmp_path / "a.pt").write_bytes(b"PK")
        args = [str(tmp_path / a) if a == "a.pt" else a for a in args]
        assert run_tool("export", *args, "-o", tmp_path / "n.safetensors") == 2
        assert expected in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 zip", b"no checkpoint"])
def test_a_damaged_checkpoint_is_one_line(tmp_path, content):
    path = tmp_path / "best.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot open .*best\.pt") as caught:
        SpikingYOLO(path, trust=True)
    assert "\n" not in str(caught.value)


def test_the_users_environment_does_not_switch_safe_loading_off(monkeypatch):
    monkeypatch.setenv("ULTRALYTICS_SAFE_LOAD", "0")
    monkeypatch.setenv("YOLO_OFFLINE", "0")
    given = isolated.environment("/somewhere")
    assert (
        given["ULTRALYTICS_SAFE_LOAD"] == given["YOLO_OFFLINE"] == "1"
        and given["PATH"] == os.environ["PATH"]
    )
