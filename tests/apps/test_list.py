"""`list`: methods, networks, calibrations and settings."""

from pathlib import Path

import pytest
from helpers.tiny import run_tool, write_tiny

from spiking_yolo.convert.methods import DEFAULT, list_methods
from spiking_yolo.io.tensors import read_safetensors, write_safetensors
from spiking_yolo.models.index import index


def test_methods_and_networks(capsys: pytest.CaptureFixture[str]):
    assert run_tool("list") == 0
    out = capsys.readouterr().out
    starts = {line.split()[0] for line in out.splitlines() if line}
    assert starts >= {*list_methods(), *(network.name for network in index().networks)}


def test_calibrations_and_settings(capsys: pytest.CaptureFixture[str]):
    for words, expected in [
        (["yolov3-tiny"], ["tuned", "calibration.operations=0.9", "msat-tuned"]),
        (["msat"], ["* msat.gain", "  neuron.gamma"]),
    ]:
        assert run_tool("list", *words) == 0
        out = capsys.readouterr().out
        assert all(word in out for word in expected)


def test_a_damaged_calibration_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    weights = write_tiny(tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    metadata, tensors = read_safetensors(path)
    write_safetensors(path, tensors, {**metadata, f"{DEFAULT}/default": "["})
    assert run_tool("list", str(weights)) == 2
    err = capsys.readouterr().err
    assert path.name in err and len(err.splitlines()) == 1


def test_what_is_unknown_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]):
    for name, near in [("p-nrom", "p-norm"), ("yolov3-tyni", "yolov3-tiny")]:
        assert run_tool("list", name) == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1 and f"did you mean '{near}'" in err
