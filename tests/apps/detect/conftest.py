"""A tiny detector, one of its photographs, a clip, and `detect` with them."""

import pytest
from helpers.tiny import run_tool, write_tiny
from helpers.video import walk, write_frames


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def image(weights):
    return weights.parent / "photos" / "a.png"


@pytest.fixture
def clip(tmp_path):
    return write_frames(tmp_path / "clip.mp4", walk(5))


@pytest.fixture
def detect(weights, tmp_path):
    def call(*args: object) -> int:
        conf = () if "--conf" in args else ("--conf", 0.3)
        places = ("--weights", weights, "--project", tmp_path / "runs")
        return run_tool("detect", *args, *conf, *places)

    return call
