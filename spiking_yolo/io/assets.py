"""Files that come with the project, and its commands; in a checkout, or installed."""

import json
import shlex
import shutil
import sys
from pathlib import Path

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import cache_folder

PACKAGE = Path(__file__).parents[1]
IN_CHECKOUT = {"weights": "weights", "samples": "data/samples"}
PROGRAM = "spiking-yolo"
# The file that `python -m spiking_yolo.cli` runs.
MODULE = PACKAGE / "cli" / "__main__.py"
# Tools whose file is not called like the verb.
TOOLS = {"eval": "eval_coco"}
# SHA-256 of the public weights.
YOLOV3_TINY = "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c"


def weights_folder() -> Path:
    """The networks that come with the project. Raises UserError if they are missing."""
    return _present(shipped("weights"), "give the weights of a network of your own")


def samples_folder() -> Path:
    """Five COCO photographs and their instances.json. Raises UserError if they are missing."""
    return _present(shipped("samples"), "give photographs of your own")


def sample_photograph() -> Path:
    """A photograph for a command that can be tried: relative where the samples lie below."""
    photograph = samples_folder() / "dog.jpg"
    below = photograph.is_relative_to(Path.cwd())
    return photograph.relative_to(Path.cwd()) if below else photograph


def sample_clip() -> Path:
    """Five seconds of a person in a room, from a fixed camera. Raises UserError if missing."""
    return _present(samples_folder() / "clips" / "person.mp4", "give a video of your own")


def default_weights() -> Path:
    """The public Tiny-YOLOv3 of COCO. Raises UserError if it is missing."""
    return _present(
        weights_folder() / "yolov3-tiny.weights", "give the weights of a network of your own"
    )


def shipped(kind: str) -> Path:
    """The folder of "weights" or "samples", which may be missing."""
    folder = PACKAGE.parent / IN_CHECKOUT[kind]
    # site-packages may hold a folder of the same name, which belongs to another package.
    return folder if in_checkout() and folder.is_dir() else PACKAGE / "assets" / kind


def fetched_weights() -> Path:
    """The folder of networks that `zoo --get` fetched, which may be missing."""
    return cache_folder() / "weights"


def is_shipped(path: Path) -> bool:
    """Whether it is one of the shipped or fetched weights, statistics or calibrations, or would lie
    among them.
    """
    folders = (shipped("weights"), fetched_weights())
    return any(path.resolve().is_relative_to(folder.resolve()) for folder in folders)


def shipped_calibrations() -> dict[str, dict[str, str]]:
    """SHA-256 of the statistics and calibrations as shipped: {weights file: {file: hexadecimal
    digest}}.
    """
    return json.loads(Path(__file__).with_name("shipped_calibrations.json").read_text())


def command(verb: str) -> str:
    """What a user types for a verb, started as this process was.

    It is "python tools/train.py", "python -m spiking_yolo.cli train" or "spiking-yolo train". A
    script or a notebook gets the last if there is that command, or else the one before.
    """
    program = Path(sys.argv[0] if sys.argv else "")
    tool = PACKAGE.parent / "tools" / f"{TOOLS.get(verb, verb.replace('-', '_'))}.py"
    if program.suffix == ".py" and program.resolve().parent == tool.parent and tool.is_file():
        return f"python {shlex.quote(str(program.with_name(tool.name)))}"
    installed = program.stem == PROGRAM or (program != MODULE and shutil.which(PROGRAM) is not None)
    return f"{PROGRAM if installed else 'python -m spiking_yolo.cli'} {verb}"


def in_checkout() -> bool:
    return (PACKAGE.parent / "pyproject.toml").is_file()


def _present(path: Path, otherwise: str) -> Path:
    if not path.exists():
        raise UserError(f"{path} does not exist: install spiking_yolo again, or {otherwise}")
    return path
