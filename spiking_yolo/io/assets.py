"""Where the files that come with the project lie: in a checkout, or inside the installed package."""

from __future__ import annotations

from pathlib import Path

from spiking_yolo.errors import UserError

PACKAGE = Path(__file__).parents[1]
IN_CHECKOUT = {"weights": "weights", "samples": "data/samples"}


def weights_folder() -> Path:
    """The networks that come with the project, with their statistics. Raises UserError when they are missing."""
    return _present(shipped("weights"), "give the weights of a network of your own")


def samples_folder() -> Path:
    """Five COCO photographs and their instances.json. Raises UserError when they are missing."""
    return _present(shipped("samples"), "give photographs of your own")


def default_weights() -> Path:
    """The public Tiny-YOLOv3 of COCO. Raises UserError when it is missing."""
    return _present(weights_folder() / "yolov3-tiny.weights", "give the weights of a network of your own")


def shipped(kind: str) -> Path:
    """The folder of "weights" or "samples", whether or not it is there."""
    checkout = PACKAGE.parent
    folder = checkout / IN_CHECKOUT[kind]
    # site-packages may hold a folder of the same name, which belongs to another package.
    if (checkout / "pyproject.toml").is_file() and folder.is_dir():
        return folder
    return PACKAGE / "assets" / kind


def _present(path: Path, otherwise: str) -> Path:
    if not path.exists():
        raise UserError(f"{path} does not exist: install spiking_yolo again, or {otherwise}")
    return path
