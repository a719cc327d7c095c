"""Files that come with the project, and its commands; in a checkout, or installed."""

from pathlib import Path

from spiking_yolo.errors import UserError

PACKAGE = Path(__file__).parents[1]
IN_CHECKOUT = {"weights": "weights", "samples": "data/samples"}
PROGRAM = "spiking-yolo"
# SHA-256 of the public weights.
YOLOV3_TINY = "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c"


def samples_folder() -> Path:
    """Five COCO photographs and their instances.json. Raises UserError if they are missing."""
    return _present("samples")


def sample_clip() -> Path:
    """Five seconds of a person in a room, from a fixed camera. Raises UserError if missing."""
    return _present("samples", "clips", "person.mp4")


def default_weights() -> Path:
    """The public Tiny-YOLOv3 of COCO. Raises UserError if it is missing."""
    return _present("weights", "yolov3-tiny.weights")


def shipped(kind: str) -> Path:
    """The folder of "weights" or "samples", which may be missing."""
    folder = PACKAGE.parent / IN_CHECKOUT[kind]
    # site-packages may hold a folder of the same name, which belongs to another package.
    return folder if in_checkout() and folder.is_dir() else PACKAGE / "assets" / kind


def is_shipped(path: Path) -> bool:
    """Whether it is one of the shipped weights, statistics or calibrations, or would lie
    among them.
    """
    return path.resolve().is_relative_to(shipped("weights").resolve())


def command(name: str) -> str:
    """What a user types for a command."""
    return f"{PROGRAM} {name}"


def in_checkout() -> bool:
    return (PACKAGE.parent / "pyproject.toml").is_file()


def _present(kind: str, *parts: str) -> Path:
    path = shipped(kind).joinpath(*parts)
    if not path.exists():
        raise UserError(f"{path} does not exist: install spiking_yolo again, or give your own")
    return path
