"""Detect objects with a spiking network, and see what it sees at every timestep."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from spiking_yolo.arguments import COMMAS, NETWORK, OUTPUT, VIDEO, at_least, within
from spiking_yolo.errors import UserError
from spiking_yolo.options import (
    DetectionOptions,
    MethodOptions,
    OutputOptions,
    SourceOptions,
    VideoOptions,
    ordered_steps,
)


@dataclass(frozen=True, kw_only=True)
class DetectOptions(MethodOptions, DetectionOptions, VideoOptions, OutputOptions, SourceOptions):
    """What to look at, for how long, and what to save."""

    T: Annotated[int | None, at_least(1)] = None
    """Timesteps (default: what the method needs)."""
    steps: Annotated[tuple[int, ...], at_least(1), COMMAS] = ()
    """Also say what is found at these timesteps."""
    classes: Annotated[tuple[str, ...], COMMAS] = ()
    """Keep these classes only, e.g. dog,car."""
    square: Annotated[bool, NETWORK] = False
    """Put each image into the square of --imgsz, in a grey frame; not at its own shape."""
    ann: bool = False
    """Compare with the ANN, on the left: is it worth it?"""
    verbose: Annotated[bool, OUTPUT] = False
    """Also print what results.json has: boxes by class, what else saves time, every cost model."""
    page: Path | None = None
    """Write FILE.html, a look into the network."""
    overlay: Annotated[tuple[str, ...] | None, COMMAS] = None
    """Draw spike rates over the picture: of these layers, or of three."""
    timeline: Annotated[bool, OUTPUT] = False
    """Draw the spikes of each layer at every timestep, of a video in every frame."""
    figures: Annotated[Literal["png", "pdf", "svg"], OUTPUT] = "png"
    """Format of --overlay and --timeline; of a video the overlay is a video."""
    limit: Annotated[int | None, at_least(1), OUTPUT] = None
    """Stop after N pictures, or N frames of each video."""
    track: bool = False
    """In a video, follow each object; NAME-mot.txt has tracks of people, or of --classes."""
    save_json: bool = False
    """Write detections.json."""
    save_txt: bool = False
    """Write labels/IMAGE.txt, as YOLO has them."""
    save_conf: Annotated[bool, OUTPUT] = False
    """--save-txt with the confidence at the end of each line."""
    track_conf: Annotated[float, within(0, 1), VIDEO] = 0.6
    """With --track: confidence with which a box starts a track; others continue one."""
    every: Annotated[int, at_least(1), VIDEO] = 1
    """Read every N-th frame of a video or webcam."""
    project: Annotated[Path, OUTPUT] = Path("runs/detect")
    """Folder of all runs."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", ordered_steps(self.steps, self.T))
        if self.figures != "png" and self.overlay is None and not self.timeline:
            raise UserError(f"--figures {self.figures} goes with --overlay or --timeline")
        if self.overlay:
            # Without a name the words are [""].
            object.__setattr__(self, "overlay", tuple(filter(None, self.overlay)))
        if self.page and self.page.suffix.lower() not in (".html", ".htm"):
            raise UserError(f"--page must end in .html, not {self.page.name}")
        if self.page and self.page.exists():
            raise UserError(f"--page {self.page} exists: remove it, or give another name")


def main(options: DetectOptions) -> int:
    """Detect objects with a spiking network, and see what it sees at every timestep.

    ```
    spiking-yolo detect image.jpg
    spiking-yolo detect photos/ --method msat-tuned --T 32 --steps 8,16,32
    spiking-yolo detect video.mp4 --track --lossless
    spiking-yolo detect photos/ --page photos.html
    spiking-yolo detect image.jpg --method msat --T 64 --overlay
    ```

    In a video the network keeps its state from frame to frame and sends only what changes. Pictures
    with boxes and all that is asked for go to PROJECT/NAME, PROJECT/NAME2, ..., with --ann also
    results.json, which has all figures; Ctrl-C leaves what was done so far. Exit status: 1 if some
    inputs failed, 2 if all did or the call is wrong.
    """
    from spiking_yolo.apps.console import Bars
    from spiking_yolo.apps.detect.run import DetectRun, sinks_of
    from spiking_yolo.apps.page import PhotographsPage, VideoPage
    from spiking_yolo.io.files import run_directory

    run = DetectRun(options)
    folder = run_directory(options.project, options.name)
    bars = Bars()
    sinks = sinks_of(run, folder)
    if options.page:
        page = VideoPage if run.has_video else PhotographsPage
        sinks.append(page(options.page, run))
    try:
        failures = run.results(sinks, bars)
    finally:
        bars.close()
        if any(folder.iterdir()):
            print(f"results saved to {folder}")
            if options.page and options.page.is_file():
                print(f"page saved to {options.page}: open it in a browser")
    if failures == len(run.sources):
        return 2
    return min(failures, 1)
