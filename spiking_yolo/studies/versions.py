"""What made a result: this package and the libraries that its figures depend on."""

import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path

from spiking_yolo import __version__

LIBRARIES = ("torch", "torchvision", "numpy", "pycocotools", "opencv-python")


def versions() -> dict[str, str]:
    """Version by name, without the libraries that are not installed."""
    result = {"spiking_yolo": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            result[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return result


def command_line() -> str:
    """What was typed to run this process, for whoever wants the same result; without the folder of the program."""
    program, words = Path(sys.argv[0]), sys.argv[1:]
    tool = program.parent.name == "tools" and program.suffix == ".py"
    return shlex.join([*(("python", f"tools/{program.name}") if tool else (program.name,)), *words])
