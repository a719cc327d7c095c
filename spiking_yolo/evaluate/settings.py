"""What an evaluation is told: which part of the data, which boxes, which rows and columns."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from spiking_yolo.decode.selection import Selection


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an evaluation is told.

    Attributes:
        selection: Which boxes of a detector count.
        steps: Timesteps of a photograph that are reported, ascending; the last one is T.
        frame_steps: Those of a frame of a video.
        split: Split of the data; None for that which their format has.
        images: Folder of the images of an annotation file; None if they lie beside it.
        year: Year of a VOCdevkit; None for its latest.
        metric: Which scores; "auto" for those of the data.
        limit: Images that are drawn, and first frames of each video; None for all.
        seed: Draws the images, and the bootstrap.
        batch: Images that are simulated together; None for as many as are fast.
        own_photographs: Whether photographs are seen at their own shape.
        own_frames: Whether frames are.
        lossless: See Stream.
        bootstrap: Resamplings for intervals of 95 %; 0 for none.
    """

    selection: Selection = field(
        default_factory=lambda: Selection(conf=0.001, max_det=100, multi_label=True)
    )
    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    frame_steps: tuple[int, ...] = (1,)
    split: str | None = None
    images: Path | None = None
    year: int | None = None
    metric: Literal["auto", "coco", "voc", "accuracy"] = "auto"
    limit: int | None = None
    seed: int = 0
    batch: int | None = None
    own_photographs: bool = False
    own_frames: bool = True
    lossless: bool = False
    bootstrap: int = 0
