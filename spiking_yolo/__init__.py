"""YOLO-style detectors as spiking neural networks, without retraining.

from spiking_yolo import SpikingYOLO
result = SpikingYOLO("weights/yolov3-tiny.weights").detect("image.jpg", T=64)
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spiking_yolo.convert.registry import list_methods
    from spiking_yolo.detector import Result, SpikingYOLO
    from spiking_yolo.errors import UserError
    from spiking_yolo.recipe import Recipe

__version__ = "0.1.0"
__all__ = ["Recipe", "Result", "SpikingYOLO", "UserError", "list_methods"]

_WHERE = {
    "SpikingYOLO": "detector",
    "Result": "detector",
    "Recipe": "recipe",
    "UserError": "errors",
    "list_methods": "convert.registry",
}


def __getattr__(name: str):
    """Import on first use: the package itself is light."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_WHERE[name]}", __name__), name)
