"""The command that comes next is one that can be typed, and of the same network."""

import shlex
from pathlib import Path

import pytest

import spiking_yolo.apps.console as console
from spiking_yolo.apps.console import Bars, next_command
from spiking_yolo.apps.detect import DetectOptions
from spiking_yolo.cli.main import parse


def test_it_has_the_same_network():
    network = [
        "--weights",
        "my net.pt",
        "--imgsz",
        "288x416",
        "--method",
        "msat",
        "--set",
        "msat.gain=2",
    ]
    network += ["--trust-weights", "--weight-bits", "8", "--statistics", "s.safetensors"]
    options = parse(["detect", "a.jpg", *network, "--set", "neuron.slack=0.1"])
    words = shlex.split(next_command("report", options, Path("a photo.jpg")))
    read = parse(["report", *words[words.index("a photo.jpg") :]])
    for name in (
        "weights",
        "imgsz",
        "trust_weights",
        "weight_bits",
        "statistics",
        "method",
        "settings",
    ):
        assert getattr(read, name) == getattr(options, name)


def test_other_values_and_none():
    options = DetectOptions(sources=("a.jpg",), settings={"neuron.gamma": 3})
    assert next_command("eval", options, method="recipe.json", settings={}).endswith(
        " --method recipe.json"
    )
    assert next_command("report", options, "a.jpg").endswith(" a.jpg --set neuron.gamma=3")


def test_lines_for_a_file_say_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """No terminal: a line after 10 seconds, none before, and none unless asked for."""
    now = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    for bars in (Bars(), Bars(lines=10)):
        now = 0.0
        for done in range(8):
            now = 4.0 * done
            bars("training", done, 16)
    assert capsys.readouterr().err.splitlines() == [
        "training: 3 of 16, 00:52 left",
        "training: 6 of 16, 00:40 left",
    ]
