"""A tiny detector, and tools/detect.py with it."""

import pytest
from helpers.tiny import run_tool, write_tiny


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def detect(weights, tmp_path):
    def call(*args: object) -> int:
        return run_tool("detect", *args, "--weights", weights, "--project", tmp_path / "runs")

    return call


@pytest.fixture
def image(weights):
    return weights.parent / "photos" / "a.png"
