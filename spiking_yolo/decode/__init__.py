"""Head outputs -> boxes or classes. The options, which are here, import nothing heavy."""

from dataclasses import dataclass, fields
from typing import Annotated, Any

from spiking_yolo.arguments import BOXES, Options, at_least, within


@dataclass(frozen=True, kw_only=True)
class DetectionOptions(Options):
    """Which boxes of a detector count."""

    conf: Annotated[float, within(0, 1), BOXES] = 0.25
    """Smallest confidence."""
    iou: Annotated[float, within(0, 1), BOXES] = 0.45
    """Suppress boxes that overlap more; unused by one2one heads."""
    max_det: Annotated[int, at_least(1), BOXES] = 300
    """Boxes per image."""
    agnostic_nms: Annotated[bool, BOXES] = False
    """Suppress boxes across classes, not within each class."""

    def box_options(self) -> dict[str, Any]:
        """These options alone, by name, of a command that has more."""
        return {one.name: getattr(self, one.name) for one in fields(DetectionOptions)}
