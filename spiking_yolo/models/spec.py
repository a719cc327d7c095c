"""A network's interface: input size, resizing, class names and how its outputs are decoded."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from spiking_yolo.io.images import Resize
from spiking_yolo.io.json_text import json_text
from spiking_yolo.io.names import label
from spiking_yolo.io.typed_json import read_json


@dataclass(frozen=True)
class HeadSpec:
    """How one output tensor becomes boxes.

    kind: "yolov1" (darknet's [detection], connected or convolutional), "yolov2" ([region]), "yolov3" ([yolo]),
    "yolov5" (the original's, with anchors) or "yolov8" (the anchor-free head of Ultralytics' v8, v3u and v5u).
    anchors: (w, h) pairs; grid cells for yolov2, pixels of the network input for yolov3 and yolov5.
    num: boxes per cell. side: grid cells per side of a connected yolov1 head, 0 when the output is a map.
    sqrt: yolov1 predicts square roots of w and h. softmax: class scores by softmax (v2) instead of sigmoid.
    logistic: apply the logistic function to yolov1's class values, confidences, x and y (the published one has none).
    bins: yolov8's values per side of a box, a distribution over 0, 1, ..., bins - 1 grid cells.
    scale: of x and y of an anchored box around the middle of its cell (scale_x_y), so that they reach its border.
    """

    kind: Literal["yolov1", "yolov2", "yolov3", "yolov5", "yolov8"]
    classes: int
    num: int
    anchors: tuple[tuple[float, float], ...] = ()
    side: int = 0
    sqrt: bool = True
    softmax: bool = False
    logistic: bool = False
    bins: int = 16
    scale: float = 1.0

    @property
    def values(self) -> int:
        """Output values per grid cell."""
        match self.kind:
            case "yolov1":
                return 5 * self.num + self.classes
            case "yolov8":
                return 4 * self.bins + self.classes
        return self.num * (5 + self.classes)


@dataclass(frozen=True)
class Spec:
    """A network's interface. Images enter as RGB / 255, then (x - mean) / std per channel.

    height, width: input size in pixels. resize: "stretch"; "letterbox" (darknet) or "letterbox-114" (Ultralytics),
    which keep the aspect ratio in a grey frame; or "crop", the centre as in torchvision's evaluation of ImageNet.
    """

    task: Literal["detect", "classify"]
    names: tuple[str, ...]
    height: int
    width: int
    resize: Resize = "letterbox"
    heads: tuple[HeadSpec, ...] = ()
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(map(label, self.names)))

    @property
    def images_at_once(self) -> int:
        """A good batch size of the ANN: about 25,000 pixels, beyond which a CPU gains nothing."""
        return max(1, 25_600 // (self.height * self.width))

    def to_json(self) -> str:
        return json_text(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        d = read_json(text, dict[str, Any])
        heads = tuple(HeadSpec(**{**h, "anchors": tuple(map(tuple, h["anchors"]))}) for h in d.pop("heads"))
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in d.items()}
        return cls(**fields, heads=heads)


def numbered(classes: int) -> tuple[str, ...]:
    """Class names "class 0", "class 1", ... for a network that has none."""
    return tuple(f"class {i}" for i in range(classes))
