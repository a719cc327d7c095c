"""Head outputs -> boxes or classes. The options, which are here, import nothing heavy."""

from dataclasses import dataclass, fields
from typing import Annotated, Any

from spiking_yolo.arguments import BOXES, Options, at_least, within

# Of two boxes of a head that was trained to find each object once, those that overlap by more are
# one object: values that are coarser than in training bring them back.
DUPLICATE = 0.7


@dataclass(frozen=True, kw_only=True)
class DetectionOptions(Options):
    """Which boxes of a detector count."""

    conf: Annotated[float, within(0, 1), BOXES] = 0.25
    """Smallest confidence."""
    iou: Annotated[float, within(0, 1), BOXES] = 0.45
    """Suppress boxes that overlap more; one2one heads: 0.7 or more."""
    max_det: Annotated[int, at_least(1), BOXES] = 300
    """Boxes per image."""
    agnostic_nms: Annotated[bool, BOXES] = False
    """Suppress boxes across classes, not within each class."""

    def largest_overlap(self, nms: bool) -> float:
        """Of two boxes that both count. nms: Whether the network needs suppression, see Spec."""
        return self.iou if nms else max(self.iou, DUPLICATE)

    def box_options(self) -> dict[str, Any]:
        """These options alone, by name, of a command that has more."""
        return {one.name: getattr(self, one.name) for one in fields(DetectionOptions)}
