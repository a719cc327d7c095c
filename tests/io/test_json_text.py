"""JSON has no nan, and one place writes it."""

import json

import pytest
from helpers.tiny import ROOT

from spiking_yolo.errors import UserError
from spiking_yolo.io.json import exact_json, write_json


def test_json_has_no_nan(tmp_path):
    write_json(tmp_path / "x", {"a": [1.5, float("nan")], "b": (float("-inf"),)})
    assert json.loads((tmp_path / "x").read_text(), parse_constant=pytest.fail) == {
        "a": [1.5, None],
        "b": [None],
    }
    assert json.loads(exact_json([0.1, 1e-300])) == [0.1, 1e-300]
    with pytest.raises(UserError, match="not finite"):
        exact_json({"error": float("nan")})


def test_there_is_one_writer_of_json():
    """tensors.py writes headers of .safetensors, whose order matters."""
    writers = [
        path for path in (ROOT / "spiking_yolo").rglob("*.py") if "json.dump" in path.read_text()
    ]
    assert {path.name for path in writers} == {"json.py", "tensors.py"}
