"""The options of a detection."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from spiking_yolo.errors import UserError
from spiking_yolo.settings import setting
from spiking_yolo.studies.options import (
    ComputeOptions,
    DetectionOptions,
    MethodOptions,
    OutputOptions,
    ordered_steps,
)


@dataclass(frozen=True)
class DetectOptions(MethodOptions, ComputeOptions, DetectionOptions, OutputOptions):
    """What to look at, for how long, and what to save."""

    title = "options"

    sources: tuple[str, ...] = setting(doc="image, folder, glob, video or webcam number")
    _: KW_ONLY
    T: int = setting(64, "timesteps", 1)
    steps: tuple[int, ...] = setting((), "also print and save what is found at these timesteps, e.g. 4,8,16", 1)
    classes: tuple[str, ...] = setting((), "keep these classes only: names or numbers with commas, e.g. dog,car")
    save_txt: bool = setting(False, "labels/IMAGE.txt: class, centre x y, width, height")
    save_conf: bool = setting(False, "with --save-txt: the confidence too")
    save_json: bool = setting(False, "detections.json")
    overlay: bool = setting(False, "spike-rate heat maps over the image, and their summary")
    layers: tuple[str, ...] = setting(("auto",), "layers of --overlay: auto (three of them), all, or names with commas")
    gif: bool = setting(False, "animation of boxes and rates over T, for images")
    ann: bool = setting(False, "draw the ANN's and the SNN's boxes side by side")
    every: int = setting(1, "of a video or webcam, every N-th frame", 1)
    limit: int | None = setting(None, "look at the first N images of the sources only", 1)
    max_frames: int | None = setting(None, "of a video or webcam, at most N frames", 1)
    project: Path = setting(Path("runs/detect"))
    exist_ok: bool = setting(False, "write into PROJECT/NAME even if it exists")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "steps", ordered_steps(self.steps, self.T))
        if self.layers != ("auto",) and not self.overlay:
            raise UserError("--layers are those of --overlay: give that too, or leave it out")
