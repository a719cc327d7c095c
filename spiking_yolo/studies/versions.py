"""What made a result: this package and the libraries that its figures depend on."""

import platform
from importlib import metadata

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
