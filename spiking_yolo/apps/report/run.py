"""A report of photographs or of a video: sources in, a page out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spiking_yolo.apps.detect.run import DetectRun, previewed, spread_steps
from spiking_yolo.apps.report import LONGEST, ReportOptions
from spiking_yolo.apps.report.page import Page, facts, legend
from spiking_yolo.apps.report.photographs import Photographer
from spiking_yolo.apps.report.video import FrameColumns, detect_options
from spiking_yolo.data.sources import expand, is_stream
from spiking_yolo.decode.selection import Selection, class_ids
from spiking_yolo.errors import UserError
from spiking_yolo.io.distributed import usable_device
from spiking_yolo.options import Progress, drawn, load, silent, simulation

SLIDER = 24  # timesteps of a long run


def report(options: ReportOptions, progress: Progress = silent) -> Page:
    """The page of some photographs, or of one video.

    progress(what, done, of how many, where) after each timestep or frame. Raises UserError when the
    call is wrong or a source cannot be read.
    """
    sources = drawn(expand(options.sources, options.recursive), options)
    if not any(map(is_stream, sources)):
        return _of_photographs(options, sources, progress)
    if len(sources) > 1:
        raise UserError(
            f"a report is of photographs or of one video, not of {len(sources)} sources with a"
            " video"
        )
    return _of_video(options, sources[0], progress)


def slider_steps(T: int, wanted: Sequence[int] = ()) -> list[int]:
    """The timesteps of a slider, T always: all of a short run, of a long one denser at the
    start.
    """
    return sorted({*wanted, T}) if wanted else spread_steps(T, SLIDER)


def _of_photographs(
    options: ReportOptions, sources: list[str], progress: Callable[..., Any]
) -> Page:
    converted, device = load(options, previewed(sources)), usable_device(options.device)
    T = options.T or max(options.steps, default=LONGEST)
    names = converted.spec.names
    selection = Selection.of(options, class_ids(options.classes or None, names))
    at = ""

    def after(t: int) -> None:
        progress("timesteps", t, T, at)

    steps = slider_steps(T, options.steps)
    taken = Photographer(
        converted, steps, selection, device, simulation(options, options.device), after
    )
    photographs: list[dict[str, Any]] = []
    for number, source in enumerate(sources, 1):
        at = f"photograph {number}/{len(sources)}"
        photographs.append(taken.photograph(source))
    seen = {c for one in photographs for c in one.pop("classes")}
    layers = [
        {"title": one.title, "neurons": taken.sites(one), "macs": one.macs} for one in taken.layers
    ]
    data = {
        "kind": "photographs",
        **facts(converted),
        "T": T,
        "steps": steps,
        "conf": options.conf,
        "layers": layers,
        "classes": legend(seen, names),
        "photographs": photographs,
    }
    what = photographs[0]["name"] if len(photographs) == 1 else f"{len(photographs)} photographs"
    return Page(f"{what} through {data['network']}, spiking for {T} timesteps", data)


def _of_video(options: ReportOptions, source: str, progress: Callable[..., Any]) -> Page:
    run = DetectRun(detect_options(options))
    columns = FrameColumns()
    for seen in run.frames(source, progress):
        columns.add(seen)
    converted = run.detector.converted
    data = {
        "kind": "video",
        **facts(converted),
        **columns.data(),
        "T": options.T or 1,
        "conf": options.conf,
        "classes": legend(columns.classes, converted.spec.names),
    }
    return Page(f"{Path(source).name} through {data['network']}, spiking, frame by frame", data)
