"""A tiny detector, a photograph and a clip, and the command `detect` with them."""

import json
from pathlib import Path

import pytest
from helpers.tiny import run_tool
from helpers.video import walk, write_frames


@pytest.fixture
def image(weights):
    return weights.parent / "photos" / "a.png"


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_frames(tmp_path / "clip.mp4", walk(5))


@pytest.fixture
def detect(weights, tmp_path):
    """Status of the command; boxes from .3 on, as a random network is sure of little."""

    def call(*args: object) -> int:
        conf = () if "--conf" in args else ("--conf", 0.3)
        where = ("--weights", weights, "--project", tmp_path / "runs")
        return run_tool("detect", *args, *where, *conf)

    return call


@pytest.fixture
def entries(tmp_path):
    """What detections.json of a run says."""

    def read(run: str = "exp") -> list[dict]:
        return json.loads((tmp_path / "runs" / run / "detections.json").read_text())

    return read
