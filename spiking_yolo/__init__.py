"""YOLO-style detectors as spiking neural networks, without retraining.

from spiking_yolo import SpikingYOLO

detector = SpikingYOLO()
print(detector.detect("image.jpg", T=1))

Arrays are RGB; for those of OpenCV, which are BGR, say so: detector.detect(array, bgr=True).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spiking_yolo.api import SpikingYOLO
    from spiking_yolo.convert.methods import list_methods
    from spiking_yolo.errors import UserError
    from spiking_yolo.metrics.count import count, counting
    from spiking_yolo.recipe import Recipe
    from spiking_yolo.result import Result

__version__ = "0.4.0.dev0"
__all__ = [
    "Recipe",
    "Result",
    "SpikingYOLO",
    "UserError",
    "__version__",
    "count",
    "counting",
    "list_methods",
]

_MODULES = {
    "Recipe": "recipe",
    "Result": "result",
    "SpikingYOLO": "api",
    "UserError": "errors",
    "count": "metrics.count",
    "counting": "metrics.count",
    "list_methods": "convert.methods",
}


def __getattr__(name: str) -> object:
    """Import on first use: the package itself is light."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
