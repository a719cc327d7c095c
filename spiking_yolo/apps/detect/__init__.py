"""Detect objects with a spiking network, and see what it sees at every timestep.

    spiking-yolo detect image.jpg
    spiking-yolo detect photos/ --method msat-plus --T 32 --steps 4,8,16,32 --save-json --overlay
    spiking-yolo detect video.mp4 --timeline --overlay --save-mot

Sources: image files, folders, globs, .txt lists of them, videos, addresses of streams, or the
number of a webcam. In a video the network keeps its state from frame to frame and sends only what
changes. The annotated pictures and videos and whatever else is asked for are saved in PROJECT/NAME,
PROJECT/NAME2, ...; Ctrl-C leaves what was done so far. Exit status: 0; 1 when some of several
inputs failed; 2 when the call is wrong or every input failed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spiking_yolo.convert.methods import UNKNOWN_TIMESTEPS, needed_timesteps
from spiking_yolo.draw import FigureOptions
from spiking_yolo.errors import UserError
from spiking_yolo.options import (
    ComputeOptions,
    DetectionOptions,
    LimitOptions,
    MethodOptions,
    OutputOptions,
    Progress,
    ordered_steps,
    silent,
)
from spiking_yolo.settings import setting

if TYPE_CHECKING:
    from spiking_yolo.recipe import Recipe
    from spiking_yolo.result import Result


# Photographs of the report that is proposed, at most.
REPORTED = 16


@dataclass(frozen=True)
class DetectOptions(
    MethodOptions, ComputeOptions, DetectionOptions, LimitOptions, FigureOptions, OutputOptions
):
    """What to look at, for how long, and what to save."""

    title = "options"

    sources: tuple[str, ...] = setting(
        doc=(
            "image, folder, glob, .txt list of them, video, address of a picture or a stream (http,"
            " rtsp), or webcam number"
        )
    )
    _: KW_ONLY
    T: int | None = setting(
        None,
        "timesteps (default: the last of --steps, or what the method needs, see --list-methods;"
        f" {UNKNOWN_TIMESTEPS} where that is unknown, 1 per frame of a video whose state is kept)",
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
    save_crop: bool = setting(False, "crops/CLASS/IMAGE-N.jpg: what is inside of each box")
    line_width: int | None = setting(
        None, "of the boxes in pixels (default: by the size of the picture)", 1
    )
    hide_labels: bool = setting(False, "draw boxes without labels")
    hide_conf: bool = setting(False, "draw labels without confidences")
    overlay: bool = setting(
        False,
        "spike-rate heat maps over the image, and their summary; of a video a second one: where"
        " spikes happened",
    )
    layers: tuple[str, ...] = setting(
        ("auto",),
        "layers of --overlay: auto (three of them), all, or names with commas,"
        " such as conv 6 or layers_10_act",
    )
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
    track: bool = setting(
        False,
        "of a video, follow each object by ByteTrack: ids in pictures, files and NAME-mot.txt",
    )
    track_conf: float = setting(
        0.6, "with --track: confidence with which a box starts a track; others continue one", 0, 1
    )
    timeline: bool = setting(
        False, "of a video, NAME-timeline.png: operations, objects and energy of each frame"
    )
    streams: int = setting(
        1,
        "video files that are read side by side, a frame of each in turn; cameras always are,"
        " after the files",
        1,
    )
    every: int = setting(1, "of a video or webcam, every N-th frame", 1)
    recursive: bool = setting(False, "of a folder, the images in folders inside it too")
    max_frames: int | None = setting(None, "of a video or webcam, at most N frames", 1)
    project: Path = setting(Path("runs/detect"))
    exist_ok: bool = setting(False, "write into PROJECT/NAME even if it exists")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "steps", ordered_steps(self.steps, self.T))
        if self.layers != ("auto",) and not self.overlay:
            raise UserError("--layers are those of --overlay: give that too, or leave it out")

    @property
    def style(self) -> dict[str, Any]:
        """How boxes are drawn, as `Result.plot` takes it."""
        return {name: getattr(self, name) for name in ("line_width", "hide_labels", "hide_conf")}

    def timesteps(self, recipe: Recipe, frame: bool = False) -> int:
        """Timesteps of an image, or of a frame of a video, with the method of this recipe."""
        kept = frame and recipe.keeps_frames
        needed = 1 if kept else needed_timesteps(recipe.name)
        return self.T or max(self.steps, default=needed)


@dataclass(frozen=True)
class DetectSummary:
    """What `detect` has done.

    Attributes:
        folder: Where its files are.
        results: Of every image and frame, in order.
        failures: Source -> why it could not be read.
    """

    folder: Path
    results: list[Result]
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
    from spiking_yolo.io.run_folder import leave_folders, run_directory

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


def _next_command(options: DetectOptions, sources: Sequence[str], first: str) -> str:
    """A report of the same photographs, or of the first source where not all are good photographs.

    Args:
        options: Of this verb.
        sources: What they name.
        first: The first source that could be read; "" where all could and are photographs.
    """
    from spiking_yolo.apps.console import next_command
    from spiking_yolo.apps.report import ReportOptions

    if first:
        changes = {"limit": None, "seed": None, "recursive": False}
        return next_command("report", ReportOptions, options, first, **changes)
    limit = options.limit or (REPORTED if len(sources) > REPORTED else None)
    return next_command("report", ReportOptions, options, *options.sources, limit=limit)


def main(options: DetectOptions) -> int:
    """Exit status 1 if some of several sources failed, 2 if all did."""
    from spiking_yolo.apps.console import Bars, is_verbose, write
    from spiking_yolo.apps.detect.run import DetectRun, Failure
    from spiking_yolo.apps.detect.sinks import Console, file_sinks
    from spiking_yolo.data.sources import is_stream
    from spiking_yolo.io.run_folder import run_directory

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
            print(f"results saved to {folder}{console.remark}")
        if console.first and run is not None:
            together = not failures and not any(map(is_stream, run.sources))
            first = "" if together else console.first
            print(_next_command(options, run.sources, first))
    if not failures:
        return 0
    assert run is not None
    return 2 if failures == len(run.sources) else 1
