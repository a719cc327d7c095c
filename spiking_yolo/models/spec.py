"""A network's interface: input size, resizing, class names and how its outputs are decoded."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from msgspec import Meta
from torch import Tensor

from spiking_yolo.data.images import Resize
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, check_graph
from spiking_yolo.io.files import read_text
from spiking_yolo.io.text import LARGEST, STRIDE, json_text, label, read_json
from spiking_yolo.models.heads import CLASSES, HEADS, HeadSpec, Positive


@dataclass(frozen=True)
class Spec:
    """A network's interface. Images enter as RGB / 255, then (x - mean) / std per channel.

    height, width: input size in pixels. resize: "stretch"; "letterbox" (darknet), or
    "letterbox-114" (Ultralytics), which keep the aspect ratio in a grey frame. stride: pixels per
    cell of the coarsest map, of which both sides of a detector's input are multiples. nms: whether
    several boxes of one object must be suppressed; heads trained to find each object once (YOLOv10,
    YOLO26) need none.
    """

    task: Literal["detect", "classify"]
    names: Annotated[tuple[str, ...], Meta(min_length=1, max_length=CLASSES)]
    height: Annotated[int, Meta(ge=1, le=LARGEST)]
    width: Annotated[int, Meta(ge=1, le=LARGEST)]
    resize: Resize = "letterbox"
    heads: tuple[HeadSpec, ...] = ()
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)
    stride: Annotated[int, Meta(ge=1, le=LARGEST)] = STRIDE
    nms: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(map(label, self.names)))

    @property
    def images_at_once(self) -> int:
        """A good batch size of the ANN: about 25,000 pixels, beyond which a CPU gains nothing."""
        return max(1, 25_600 // (self.height * self.width))

    def normalised(self, x: Tensor) -> Tensor:
        """Images [..., 3, H, W] as the ANN takes them, float32: (byte / 255 - mean) / std.

        x: uint8; floats are normalised already.
        """
        if x.dtype == torch.uint8:
            mean, std = (torch.tensor(one, device=x.device) for one in (self.mean, self.std))
            x = (x / 255 - mean[:, None, None]) / std[:, None, None]
        return x.contiguous()

    def of_shape(self, width: int, height: int) -> Self:
        """Return the interface for images of this shape, as Ultralytics does it: the longer side
        stays, and the shorter one is no longer than they need, a multiple of the stride.

        Heads such as YOLOv1's measure boxes in shares of the input, and classifiers were trained on
        one size: theirs stays.
        """
        if self.task == "classify" or any(HEADS[head.kind].shares for head in self.heads):
            return self
        longest, unit = max(self.height, self.width), max(height, width) * self.stride
        rows, columns = (-(-side * longest // unit) for side in (height, width))
        return replace(self, height=rows * self.stride, width=columns * self.stride)

    def to_json(self) -> str:
        return json_text(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError unless every field has its type."""
        return read_json(text, cls)


def class_names(
    weights: Path, names: str | Path | None, classes: int, *others: Path
) -> tuple[str, ...]:
    """Class names of a network.

    Args:
        weights: Its file; <stem>.names beside it is the default.
        names: A file of class names, which must exist.
        classes: Number of classes.
        others: Files to try after the default; without any, classes are numbered.

    Raises:
        UserError: The file does not have as many names.
    """
    if names:
        return read_names(Path(names), classes)
    for path in (weights.with_suffix(".names"), *others):
        if path.is_file():
            return read_names(path, classes)
    return numbered(classes)


def numbered(classes: int) -> tuple[str, ...]:
    """Class names "class 0", "class 1", ... for a network that has none."""
    return tuple(f"class {i}" for i in range(classes))


def read_names(path: Path, classes: int) -> tuple[str, ...]:
    """The class names of a text file, one per line. Raises UserError unless there are so many."""
    names = tuple([line.strip() for line in read_text(path).splitlines() if line.strip()])
    if len(names) != classes:
        raise UserError(f"{path} has {len(names)} names, not {classes}: give one for each class")
    return names


# Pixels of a side of a classifier's input, which has more channels at full size than a detector's.
CLASSIFIED = 1024


def check_network(graph: Graph, spec: Spec) -> dict[str, torch.Size]:
    """The shape of every node at the Spec's size, once both are known to be sound and to belong
    together.

    Nothing is run. Raises UserError that says what is wrong.
    """
    check_spec(spec)
    known = check_graph(graph, spec.height, spec.width)
    outputs = [tuple(known[name][1:]) for name in graph.outputs]
    if spec.task == "classify":
        fit = outputs == [(len(spec.names),)]
    else:
        pairs = zip(outputs, spec.heads, strict=False)
        fit = len(outputs) == len(spec.heads) and all(head.fits(shape) for shape, head in pairs)
    if not fit:
        shown = ", ".join("x".join(map(str, shape)) for shape in outputs)
        classes = f"{len(spec.names)} classes"
        raise UserError(f"the outputs ({shown}) are not those of {classes}: give another file")
    return known


def check_spec(spec: Spec) -> None:
    """Raise UserError unless the fields have their ranges and fit each other."""
    try:
        Spec.from_json(spec.to_json())
        for head in spec.heads:
            if head.kind not in HEADS:
                raise ValueError(f"no kind of head is called {head.kind}")
            anchors = len(head.anchors)
            if anchors != head.num and (anchors or HEADS[head.kind].anchored):
                raise ValueError(f"{anchors} anchors for {head.num} boxes")
        if bool(spec.heads) != (spec.task == "detect"):
            raise ValueError("heads belong to detectors")
        if any(head.classes != len(spec.names) for head in spec.heads):
            raise ValueError("the classes of heads and names differ")
        if spec.task == "classify" and max(spec.height, spec.width) > CLASSIFIED:
            raise ValueError(f"more than {CLASSIFIED} pixels")
    except ValueError as error:
        raise UserError(f"the file describes no interface ({error}): give another") from None
