"""One page to look at: what a spiking network sees in photographs or a video, at every timestep or
frame.

    spiking-yolo report photos/ --method msat-plus --T 16
    spiking-yolo report image.jpg --method msat-plus --T 64 -o image.html
    spiking-yolo report video.mp4 --every 2

The page is one HTML file that opens offline and needs no other file: boxes of the spiking network
and of the ANN, spike rates of every layer over the picture, output error, operations and energy. Of
an evaluation, which needs labels, `spiking-yolo eval --report` makes one.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spiking_yolo.errors import UserError
from spiking_yolo.options import (
    ComputeOptions,
    DetectionOptions,
    LimitOptions,
    MethodOptions,
    OutputOptions,
    Progress,
    drawn,
    ordered_steps,
    silent,
)
from spiking_yolo.settings import setting

if TYPE_CHECKING:
    from spiking_yolo.draw.page import Page

# Timesteps of a photograph by default, at least: what happens after those that a method needs is
# of interest too.
LEAST = 16


@dataclass(frozen=True)
class ReportOptions(MethodOptions, ComputeOptions, DetectionOptions, LimitOptions, OutputOptions):
    """What to look at, for how long, and where the page goes."""

    title = "options"

    sources: tuple[str, ...] = setting(doc="photographs, folders, globs, or one video")
    _: KW_ONLY
    T: int | None = setting(
        None,
        "timesteps (default: the last of --steps, or what the method needs, see --list-methods, and"
        f" {LEAST} at least; per frame of a video 1)",
        1,
    )
    steps: tuple[int, ...] = setting(
        (), "timesteps of the slider (default: all, or 24 of a long run)", 1
    )
    classes: tuple[str, ...] = setting(
        (), "keep these classes only: names or numbers with commas, e.g. dog,car"
    )
    recursive: bool = setting(False, "of a folder, the photographs in folders inside it too")
    track: bool = setting(False, "of a video, follow each object by ByteTrack, and show its track")
    every: int = setting(1, "of a video, every N-th frame", 1)
    max_frames: int | None = setting(None, "of a video, at most N frames", 1)
    output: Path | None = setting(
        None, "file to write, ending in .html (default: PROJECT/NAME/report.html)"
    )
    project: Path = setting(Path("runs/report"))

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "steps", ordered_steps(self.steps, self.T))
        if self.output and self.output.suffix.lower() not in (".html", ".htm"):
            raise UserError(f"--output must end in .html, not {self.output.name}")


def report(options: ReportOptions, progress: Progress = silent) -> Page:
    """The page of some photographs, or of one video.

    Args:
        options: What to look at, and for how long.
        progress: Called with (what, done, of how many, remark) after each timestep or frame.

    Returns:
        The Page, which `save` writes.

    Raises:
        UserError: The options do not fit together, or a source cannot be read.

    Example:
        >>> report(ReportOptions(("dog.jpg",), T=16)).save(Path("dog.html"))
    """
    from spiking_yolo.apps.report.photographs import photographs_page
    from spiking_yolo.apps.report.video import video_page
    from spiking_yolo.data.sources import expand, is_stream

    sources = drawn(expand(options.sources, options.recursive), options)
    if not any(map(is_stream, sources)):
        if options.track:
            raise UserError("--track: for videos only; name one, or leave it out")
        return photographs_page(options, sources, progress)
    if len(sources) > 1:
        raise UserError(
            f"a report is of photographs or of one video, not of {len(sources)} sources with a"
            " video"
        )
    return video_page(options, sources[0], progress)


def main(options: ReportOptions) -> None:
    from spiking_yolo.apps.console import Bars
    from spiking_yolo.io.run_folder import run_directory

    path = options.output or run_directory(options.project, options.name) / "report.html"
    bars = Bars()
    try:
        page = report(options, bars)
    finally:
        bars.close()
    page.save(path)
    print(f"report saved to {path}, {path.stat().st_size / 1e6:.1f} MB: open it in a browser")
