"""One page to look at: what a spiking network sees in photographs or a video, at every timestep or
frame.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from spiking_yolo.arguments import COMMAS, OUTPUT, at_least
from spiking_yolo.errors import UserError
from spiking_yolo.options import (
    DetectionOptions,
    LimitOptions,
    MethodOptions,
    OutputOptions,
    Progress,
    SourceOptions,
    drawn,
    ordered_steps,
    silent,
)

if TYPE_CHECKING:
    from spiking_yolo.draw.page import Page

# Timesteps of a photograph by default, at least: what happens after those that a method needs is
# of interest too.
LEAST = 16


@dataclass(frozen=True, kw_only=True)
class ReportOptions(MethodOptions, DetectionOptions, LimitOptions, OutputOptions, SourceOptions):
    """What to look at, for how long, and where the page goes."""

    T: Annotated[int | None, at_least(1)] = None
    """Timesteps (default: the last of --steps, or what the method needs, see
    `spiking-yolo methods`, and 16 at least; per frame of a video 1).
    """
    steps: Annotated[tuple[int, ...], at_least(1), COMMAS] = ()
    """Timesteps of the slider (default: all, or 24 of a long run)."""
    classes: Annotated[tuple[str, ...], COMMAS] = ()
    """Keep these classes only: names or numbers with commas, e.g. dog,car."""
    recursive: bool = False
    """Of a folder, the photographs in folders inside it too."""
    track: bool = False
    """Of a video, follow each object by ByteTrack, and show its track."""
    every: Annotated[int, at_least(1)] = 1
    """Of a video, every N-th frame."""
    max_frames: Annotated[int | None, at_least(1)] = None
    """Of a video, at most N frames."""
    output: Annotated[Path | None, Parameter(alias="-o")] = None
    """File to write, ending in .html (default: PROJECT/NAME/report.html)."""
    project: Annotated[Path, OUTPUT] = Path("runs/report")
    """Folder of all runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "steps", ordered_steps(self.steps, self.T))
        if self.output and self.output.suffix.lower() not in (".html", ".htm"):
            raise UserError(f"--output must end in .html, not {self.output.name}")


def report(options: ReportOptions, progress: Progress = silent) -> "Page":
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
    """One page to look at: what a spiking network sees in photographs or a video, at every timestep
    or frame.

    ```
    spiking-yolo report photos/ --method msat-plus --T 16
    spiking-yolo report image.jpg --method msat-plus --T 64 -o image.html
    spiking-yolo report video.mp4 --every 2
    ```

    The page is one HTML file that opens offline and needs no other file: boxes of the spiking
    network and of the ANN, spike rates of every layer over the picture, output error, operations
    and energy. Of an evaluation, which needs labels, `spiking-yolo eval --report` makes one.
    """
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
