"""The options of a detection."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from spiking_yolo.draw import FigureOptions
from spiking_yolo.errors import UserError
from spiking_yolo.options import (
    ComputeOptions,
    DetectionOptions,
    LimitOptions,
    MethodOptions,
    OutputOptions,
    ordered_steps,
)
from spiking_yolo.settings import setting

# Timesteps of an image where nothing is said.
LONGEST = 64


@dataclass(frozen=True)
class DetectOptions(
    MethodOptions, ComputeOptions, DetectionOptions, LimitOptions, FigureOptions, OutputOptions
):
    """What to look at, for how long, and what to save."""

    title = "options"

    sources: tuple[str, ...] = setting(
        doc=(
            "image, folder, glob, .txt list of them, video, address of a stream (http, rtsp), or"
            " webcam number"
        )
    )
    _: KW_ONLY
    T: int | None = setting(
        None,
        f"timesteps (default: {LONGEST}; per frame of a video whose state is kept 1, or the last of"
        " --steps)",
        1,
    )
    steps: tuple[int, ...] = setting(
        (), "also print and save what is found at these timesteps, e.g. 4,8,16", 1
    )
    classes: tuple[str, ...] = setting(
        (), "keep these classes only: names or numbers with commas, e.g. dog,car"
    )
    save_txt: bool = setting(
        False, "labels/IMAGE.txt or labels/VIDEO/FRAME.txt: class, centre x y, width, height"
    )
    save_conf: bool = setting(False, "with --save-txt: the confidence too")
    save_json: bool = setting(False, "detections.json")
    overlay: bool = setting(
        False,
        "spike-rate heat maps over the image, and their summary; of a video a second one: where"
        " spikes happened",
    )
    layers: tuple[str, ...] = setting(
        ("auto",), "layers of --overlay: auto (three of them), all, or names with commas"
    )
    gif: bool = setting(False, "animation of boxes and rates over T, for images")
    ann: bool = setting(False, "draw the ANN's and the SNN's boxes side by side")
    frames: Literal["keep", "reset"] | None = setting(
        None,
        "of a video, keep: the network keeps its state, so that only what changes is sent; reset:"
        " each frame is a new image (default: keep, where the method can)",
    )
    refresh: int = setting(
        0, "of --frames keep: start anew after N frames; 0: only at the first and at a cut", 0
    )
    save_mot: bool = setting(
        False, "of a video, NAME-mot.txt as MOTChallenge has it: people, or --classes"
    )
    timeline: bool = setting(
        False, "of a video, NAME-timeline.png: operations, objects and energy of each frame"
    )
    every: int = setting(1, "of a video or webcam, every N-th frame", 1)
    recursive: bool = setting(False, "of a folder, the images in folders inside it too")
    max_frames: int | None = setting(None, "of a video or webcam, at most N frames", 1)
    project: Path = setting(Path("runs/detect"))
    exist_ok: bool = setting(False, "write into PROJECT/NAME even if it exists")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "steps", ordered_steps(self.steps, self.T or LONGEST))
        if self.layers != ("auto",) and not self.overlay:
            raise UserError("--layers are those of --overlay: give that too, or leave it out")

    def timesteps(self, kept: bool = False) -> int:
        """Of an image or, if kept, of a frame of a video whose state stays."""
        return self.T or (max(self.steps, default=1) if kept else LONGEST)
