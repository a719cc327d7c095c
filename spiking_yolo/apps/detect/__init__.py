"""Detect objects with a spiking network, and see what it sees at every timestep."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from spiking_yolo.arguments import COMMAS, OUTPUT, at_least, within
from spiking_yolo.convert.methods import needed_timesteps
from spiking_yolo.errors import UserError
from spiking_yolo.options import (
    DetectionOptions,
    MethodOptions,
    OutputOptions,
    SourceOptions,
    ordered_steps,
)

if TYPE_CHECKING:
    from spiking_yolo.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class DetectOptions(MethodOptions, DetectionOptions, OutputOptions, SourceOptions):
    """What to look at, for how long, and what to save."""

    T: Annotated[int | None, at_least(1)] = None
    """Timesteps (default: the last of --steps, or what the method needs, see `list`; 64 where that
    is unknown, 1 per frame of a video whose state is kept).
    """
    steps: Annotated[tuple[int, ...], at_least(1), COMMAS] = ()
    """Also print and save what is found at these timesteps, e.g. 4,8,16."""
    classes: Annotated[tuple[str, ...], COMMAS] = ()
    """Keep these classes only: names or numbers with commas, e.g. dog,car."""
    save_txt: bool = False
    """Write labels/IMAGE.txt or labels/VIDEO/FRAME.txt: class, centre x y, width, height."""
    save_conf: bool = False
    """The same with the confidence at the end."""
    save_json: bool = False
    """Write detections.json."""
    page: Annotated[Path | None, OUTPUT] = None
    """Write FILE.html, one page to look at offline: what the network sees in photographs at every
    timestep (or --steps), or in one video frame by frame.
    """
    ann: bool = False
    """Draw the ANN's and the SNN's boxes side by side."""
    track: bool = False
    """In a video, follow each object by ByteTrack: ids in pictures and files; NAME-mot.txt has the
    tracks of people, or of --classes, as MOTChallenge does.
    """
    track_conf: Annotated[float, within(0, 1)] = 0.6
    """With --track: confidence with which a box starts a track; others continue one."""
    every: Annotated[int, at_least(1)] = 1
    """Read every N-th frame of a video or webcam."""
    max_frames: Annotated[int | None, at_least(1)] = None
    """Read at most N frames of a video or webcam."""
    project: Annotated[Path, OUTPUT] = Path("runs/detect")
    """Folder of all runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "steps", ordered_steps(self.steps, self.T))
        if self.page and self.page.suffix.lower() not in (".html", ".htm"):
            raise UserError(f"--page must end in .html, not {self.page.name}")

    def timesteps(self, recipe: "Recipe", frame: bool = False) -> int:
        """Timesteps of an image, or of a frame of a video, with the method of this recipe."""
        needed = needed_timesteps(recipe.name)
        if frame and recipe.keeps_frames:
            needed = 1
        return self.T or max(self.steps, default=needed)


def main(options: DetectOptions) -> int:
    """Detect objects with a spiking network, and see what it sees at every timestep.

    ```
    spiking-yolo detect image.jpg
    spiking-yolo detect photos/ --method msat-tuned --T 32 --steps 8,16,32
    spiking-yolo detect video.mp4 --track
    spiking-yolo detect photos/ --page photos.html
    ```

    Sources: image files, folders, globs, .txt lists of them, videos, addresses of streams, or the
    number of a webcam. In a video the network keeps its state from frame to frame and sends only
    what changes. The annotated pictures and videos and whatever else is asked for are saved in
    PROJECT/NAME, PROJECT/NAME2, ...; Ctrl-C leaves what was done so far. Exit status: 0; 1 when
    some of several inputs failed; 2 when the call is wrong or every input failed.
    """
    from spiking_yolo.apps.console import Bars
    from spiking_yolo.apps.detect.run import Console, DetectRun, file_sinks
    from spiking_yolo.apps.page import page_of
    from spiking_yolo.io.files import run_directory

    run = DetectRun(options)
    folder = run_directory(options.project, options.name)
    bars = Bars()
    console = Console(run)
    sinks = file_sinks(run, folder)
    if options.page:
        sinks.append(page_of(options.page, run))
    try:
        failures = run.results([*sinks, console], bars)
    finally:
        bars.close()
        if console.any_results:
            print(f"results saved to {folder}")
            if options.page:
                print(f"page saved to {options.page}: open it in a browser")
    if failures == len(run.sources):
        return 2
    return min(failures, 1)
