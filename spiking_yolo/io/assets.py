"""Where the files that come with the package lie."""

from pathlib import Path

_ROOT = Path(__file__).parents[2]


def default_weights() -> Path:
    return _ROOT / "weights" / "yolov3-tiny.weights"


def samples_folder() -> Path:
    return _ROOT / "data" / "samples"
