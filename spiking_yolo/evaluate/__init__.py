"""How well a spiking network does: scorers, the 8-bit ANN beside it, tables. The options, which are
here, import nothing heavy.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from spiking_yolo.arguments import BOXES, COMMAS, DATA, NETWORK, OUTPUT, at_least, within
from spiking_yolo.errors import UserError
from spiking_yolo.options import (
    DetectionOptions,
    LimitOptions,
    MethodsOptions,
    OutputOptions,
    VideoOptions,
    ordered_steps,
)

# Timesteps where nothing is said.
LONGEST = 64


@dataclass(frozen=True, kw_only=True)
class EvalOptions(DetectionOptions, VideoOptions, LimitOptions, MethodsOptions, OutputOptions):
    """Which networks, which data, which rows and columns."""

    data: Path | None = None
    """COCO folder or .json, VOCdevkit, data.yaml, SPLIT/CLASS/, videos (default: samples); or a
    folder with photographs and instances.json, or with photographs alone.
    """
    split: Annotated[str | None, DATA] = None
    """Split of the data (default: val2017 or val; of classes test, or val)."""
    images: Annotated[Path | None, DATA] = None
    """Folder of images of an annotation .json (default: beside it)."""
    year: Annotated[int | None, at_least(0), DATA] = None
    """Year of a VOCdevkit (default: its latest)."""
    metric: Annotated[Literal["auto", "coco", "voc", "accuracy"], DATA] = "auto"
    """mAP as COCO or VOC defines it, or accuracy of classes; auto: by the data."""
    limit: Annotated[int | None, at_least(1)] = None
    """Use N images only, drawn by --seed; of each video the first N frames."""
    seed: Annotated[int, at_least(0), DATA] = 0
    """Draws the images of --limit, and the bootstrap."""
    T: Annotated[int | None, at_least(1)] = None
    """Timesteps (default: the last of --steps, or 64; of a frame 1)."""
    steps: Annotated[tuple[int, ...], at_least(1), COMMAS] = ()
    """Timesteps that are reported (default: powers of two)."""
    batch: Annotated[int | None, at_least(1), NETWORK] = None
    """Images simulated together (default: of a detector 4 up to 320x320 and 1 above, of a
    classifier 25,000 pixels).
    """
    square: Annotated[bool, NETWORK] = False
    """Frames of videos in the square of --imgsz too, not at their own shape."""
    rect: Annotated[bool, NETWORK] = False
    """Photographs at their own shape too, not in the square of --imgsz."""
    baseline: bool = False
    """A row of the 8-bit ANN."""
    bootstrap: Annotated[int, within(0, 100000)] = 0
    """95 % intervals by N resamplings, e.g. 1000, also of the differences from the ANN and from
    the first method.
    """
    conf: Annotated[float, within(0, 1), BOXES] = 0.001
    """Smallest confidence."""
    max_det: Annotated[int, at_least(1), BOXES] = 100
    """Boxes per image."""
    project: Annotated[Path, OUTPUT] = Path("runs/eval")
    """Folder of all runs."""
    resume: Annotated[Path | None, OUTPUT] = None
    """Go on with an interrupted run, whose folder this is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "steps", ordered_steps(self.steps, self.T))
        if self.rect and (self.square or self.exact):
            other = "--square" if self.square else "a size of HEIGHTxWIDTH"
            own = "--rect is each photograph's own shape"
            raise UserError(f"{own}, {other} one for all: leave one of them out")
        if self.metric == "accuracy" and self.weights is None:
            raise UserError(
                "the default network is a detector, which gives images no class: give a classifier,"
                " such as --weights resnet20, vgg16 or vgg-thin of a checkout (CIFAR-10), or one of"
                " your own"
            )

    def timesteps(self, video: bool) -> tuple[int, ...]:
        """The timesteps of a photograph, or of a frame of a video, that are reported, ascending."""
        if video and not (self.T or self.steps):
            return (1,)
        T = self.T or max(self.steps, default=LONGEST)
        return tuple(sorted({*(self.steps or [2**k for k in range(31) if 2**k < T]), T}))

    def own_shape(self, video: bool) -> bool:
        """Whether photographs, or the frames of videos, are seen at their own shape."""
        return not (self.square or self.exact) if video else self.rect
