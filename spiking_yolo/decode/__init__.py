"""Head outputs -> boxes or classes. The options, which are here, import nothing heavy."""

from dataclasses import dataclass
from typing import Any

from spiking_yolo.settings import Options, setting, settings_of


@dataclass(frozen=True, kw_only=True)
class DetectionOptions(Options):
    """Which boxes of a detector count."""

    title = "boxes"

    conf: float = setting(0.25, "smallest confidence", 0, 1)
    iou: float = setting(0.45, "suppress boxes that overlap more; unused by one2one heads", 0, 1)
    max_det: int = setting(300, "boxes per image", 1)
    agnostic_nms: bool = setting(False, "suppress boxes across classes, not within each class")

    def box_options(self) -> dict[str, Any]:
        """These options alone, by name, of a verb that has more."""
        return {name: getattr(self, name) for name in settings_of(DetectionOptions)}
