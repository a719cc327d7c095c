"""What a run says of itself, and whom it tells how far it is."""

import platform
import shlex
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from spiking_yolo import __version__
from spiking_yolo.io.assets import PROGRAM

# (what, how much of it is done, of how much or None, remark="").
Progress = Callable[..., Any]


def silent(*_: object) -> None:
    """A callback that does nothing."""


def versions() -> dict[str, str]:
    """Versions of this package, Python and the libraries that compute, by name."""
    result = {"spiking_yolo": __version__, "python": platform.python_version()}
    for name in ("torch", "torchvision", "numpy", "pycocotools"):
        result[name] = metadata.version(name)
    return result


def command_line() -> str:
    """What was typed to run this process, without the folder of the program."""
    program = Path(sys.argv[0]).name
    return shlex.join([PROGRAM if program == "__main__.py" else program, *sys.argv[1:]])
