"""Detect objects with a spiking network, and see what it sees at every timestep."""

import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from spiking_yolo.arguments import COMMAS, OUTPUT, at_least, within
from spiking_yolo.convert.methods import needed_timesteps
from spiking_yolo.draw import FigureOptions
from spiking_yolo.errors import UserError
from spiking_yolo.options import (
    DetectionOptions,
    LimitOptions,
    MethodOptions,
    OutputOptions,
    Progress,
    SourceOptions,
    ordered_steps,
    silent,
)

if TYPE_CHECKING:
    from spiking_yolo.recipe import Recipe
    from spiking_yolo.result import Result


# Timesteps of a photograph on a page by default, at least: what happens after those that a method
# needs is of interest too.
LEAST = 16


@dataclass(frozen=True, kw_only=True)
class DetectOptions(
    MethodOptions, DetectionOptions, LimitOptions, FigureOptions, OutputOptions, SourceOptions
):
    """What to look at, for how long, and what to save."""

    T: Annotated[int | None, at_least(1)] = None
    """Timesteps (default: the last of --steps, or what the method needs, see `list`; 64 where that
    is unknown, 1 per frame of a video whose state is kept, with --page 16 at least).
    """
    steps: Annotated[tuple[int, ...], at_least(1), COMMAS] = ()
    """Also print and save what is found at these timesteps, e.g. 4,8,16."""
    classes: Annotated[tuple[str, ...], COMMAS] = ()
    """Keep these classes only: names or numbers with commas, e.g. dog,car."""
    save_txt: bool = False
    """Write labels/IMAGE.txt or labels/VIDEO/FRAME.txt: class, centre x y, width, height."""
    save_conf: bool = False
    """With --save-txt: the confidence too."""
    save_json: bool = False
    """Write detections.json."""
    line_width: Annotated[int | None, at_least(1)] = None
    """Width of the boxes' lines in pixels (default: by the size of the picture)."""
    hide_labels: bool = False
    """Draw boxes without labels."""
    hide_conf: bool = False
    """Draw labels without confidences."""
    page: Annotated[Path | None, OUTPUT] = None
    """Write FILE.html, one page to look at offline: what the network sees in photographs at every
    timestep (or --steps), or in one video frame by frame.
    """
    overlay: bool = False
    """Heat maps of spike rates over the image; of a video a second one: where spikes happened."""
    layers: Annotated[tuple[str, ...], COMMAS] = ("auto",)
    """Layers of --overlay: auto (three of them), all, or names with commas, such as conv 6 or
    layers_10_act.
    """
    ann: bool = False
    """Draw the ANN's and the SNN's boxes side by side."""
    frames: Literal["keep", "reset"] | None = None
    """For a video, keep: the network keeps its state, so that only what changes is sent; reset:
    each frame is a new image (default: keep, where the method can).
    """
    save_mot: bool = False
    """For a video, NAME-mot.txt as MOTChallenge has it: people, or --classes."""
    track: bool = False
    """In a video, follow each object by ByteTrack: ids in pictures, files and NAME-mot.txt."""
    track_conf: Annotated[float, within(0, 1)] = 0.6
    """With --track: confidence with which a box starts a track; others continue one."""
    timeline: bool = False
    """For a video, NAME-timeline.png: operations, objects and energy of each frame."""
    every: Annotated[int, at_least(1)] = 1
    """Read every N-th frame of a video or webcam."""
    recursive: bool = False
    """Also read the images in folders inside a folder."""
    max_frames: Annotated[int | None, at_least(1)] = None
    """Read at most N frames of a video or webcam."""
    project: Annotated[Path, OUTPUT] = Path("runs/detect")
    """Folder of all runs."""
    exist_ok: Annotated[bool, OUTPUT] = False
    """Write into PROJECT/NAME even if it exists."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "steps", ordered_steps(self.steps, self.T))
        if self.layers != ("auto",) and not self.overlay:
            raise UserError("--layers are those of --overlay: give that too, or leave it out")
        if self.save_conf and not self.save_txt:
            raise UserError("--save-conf is for --save-txt: give that too, or leave it out")
        if self.page and self.page.suffix.lower() not in (".html", ".htm"):
            raise UserError(f"--page must end in .html, not {self.page.name}")

    @property
    def style(self) -> dict[str, Any]:
        """How boxes are drawn, as `Result.plot` takes it."""
        return {name: getattr(self, name) for name in ("line_width", "hide_labels", "hide_conf")}

    def timesteps(self, recipe: "Recipe", frame: bool = False) -> int:
        """Timesteps of an image, or of a frame of a video, with the method of this recipe."""
        needed = needed_timesteps(recipe.name)
        if frame and recipe.keeps_frames:
            needed = 1
        if self.page and not frame:
            needed = max(needed, LEAST)
        return self.T or max(self.steps, default=needed)


@dataclass(frozen=True)
class DetectSummary:
    """What `detect` has done.

    Attributes:
        folder: Where its files are.
        results: Results of every image and frame, in order.
        failures: Source -> why it could not be read.
    """

    folder: Path
    results: "list[Result]"
    failures: dict[str, UserError]


def detect(options: DetectOptions, progress: Progress = silent) -> DetectSummary:
    """Detect objects in all sources, and write the files that the options ask for.

    The command line writes the same files. All results are kept in memory, pictures included: for
    a long video use `SpikingYOLO.stream`.

    Args:
        options: What to look at, and what to save.
        progress: Called with (what, done, of how many, remark) after each timestep or frame.

    Returns:
        A DetectSummary.

    Raises:
        UserError: The options do not fit together, or the only source cannot be read.

    Example:
        >>> options = DetectOptions(("dog.jpg",), T=1, save_json=True, overlay=True)
        >>> detect(options).results
        [3 boxes: car 0.63, dog 0.62, bicycle 0.56; T=1, 2.1 M digits]
    """
    from spiking_yolo.apps.detect.run import DetectRun, Failure
    from spiking_yolo.apps.detect.sinks import file_sinks
    from spiking_yolo.io.files import leave_folders, run_directory

    folder = run_directory(options.project, options.name, options.exist_ok)
    summary = DetectSummary(folder, [], {})
    try:
        run = DetectRun(options)
        for seen in run.results(file_sinks(run, folder), progress):
            if isinstance(seen, Failure):
                summary.failures[seen.source] = seen.error
            else:
                summary.results.append(seen.result)
    finally:
        leave_folders()
    return summary


def main(options: DetectOptions) -> int:
    """Detect objects with a spiking network, and see what it sees at every timestep.

    ```
    spiking-yolo detect image.jpg
    spiking-yolo detect photos/ --method msat-tuned --T 32 --steps 8,16,32
    spiking-yolo detect video.mp4 --timeline --overlay --save-mot
    spiking-yolo detect photos/ --page photos.html
    ```

    Sources: image files, folders, globs, .txt lists of them, videos, addresses of streams, or the
    number of a webcam. In a video the network keeps its state from frame to frame and sends only
    what changes. The annotated pictures and videos and whatever else is asked for are saved in
    PROJECT/NAME, PROJECT/NAME2, ...; Ctrl-C leaves what was done so far. Exit status: 0; 1 when
    some of several inputs failed; 2 when the call is wrong or every input failed.
    """
    from spiking_yolo.apps.console import Bars, is_verbose, write
    from spiking_yolo.apps.detect.run import DetectRun, Failure
    from spiking_yolo.apps.detect.sinks import Console, file_sinks
    from spiking_yolo.io.files import run_directory

    folder = run_directory(options.project, options.name, options.exist_ok)
    bars = Bars()
    console = Console(options.steps, write, is_verbose())
    failures = 0
    run = None
    try:
        run = DetectRun(options)
        if is_verbose():
            write(repr(run.detector))
        sinks = [*file_sinks(run, folder), console]
        with closing(run.results(sinks, bars)) as results:
            for seen in results:
                if isinstance(seen, Failure):
                    write(f"error: {seen.error}", file=sys.stderr)
                    failures += 1
    finally:
        bars.close()
        if console.any_results:
            print(f"results saved to {folder}")
            if options.page:
                size = options.page.stat().st_size / 1e6
                print(f"page saved to {options.page}, {size:.1f} MB: open it in a browser")
    if not failures:
        return 0
    assert run is not None
    return 2 if failures == len(run.sources) else 1
