"""What `spiking-yolo detect` prints and saves on its way."""

from __future__ import annotations

import sys

from spiking_yolo.cli.bars import Bars, write
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import run_directory
from spiking_yolo.io.sources import is_stream
from spiking_yolo.result import Result
from spiking_yolo.studies.detect.options import DetectOptions
from spiking_yolo.studies.detect.outputs import Outputs, found_text
from spiking_yolo.studies.detect.run import Sighting, Watcher


class Report(Watcher):
    """Lines and files of every image; bars of sources, frames and timesteps on a terminal. count: of sources."""

    def __init__(self, options: DetectOptions):
        self.options = options
        self.outputs = Outputs(run_directory(options.project, options.name, options.exist_ok), options)
        self.count = 0
        self.bars = Bars()

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.close()
        self.outputs.close()
        if self.outputs.used:
            print(f"results saved to {self.outputs.directory}")

    def source(self, source: str, number: int, count: int) -> None:
        self.count = count
        self.bars.close("timesteps", "frames")
        if count > 1:
            self.bars("sources", number, count)
        self.outputs.start()
        if is_stream(source) and (self.options.overlay or self.options.gif):
            write(f"{source}: --overlay and --gif are for images, a video gets neither", file=sys.stderr)

    def step(self, t: int) -> None:
        self.bars("timesteps", t, self.options.T)

    def result(self, sighting: Sighting) -> None:
        self.bars.close("timesteps")
        write("\n".join(lines(sighting, self.options.steps)))
        self.outputs.save(sighting)
        if sighting.video and sighting.frame is not None:
            every = self.options.every
            limits = (self.options.max_frames, sighting.video.count and -(-sighting.video.count // every))
            total = min((n for n in limits if n), default=None)
            self.bars("frames", sighting.frame // every + 1, total)

    def failure(self, source: str, error: UserError) -> None:
        write(f"error: {error}", file=sys.stderr)


def lines(sighting: Sighting, steps: tuple[int, ...]) -> list[str]:
    """One line for the image, one per requested timestep, and one for the ANN."""
    result, ann = sighting.result, sighting.ann
    height, width = result.image.shape[:2]
    settled = f" (settled after {result.settled})" if result.settled < result.T else ""
    first = (
        f"{sighting.label}: {width}x{height}, {_found(result)}; T={result.T}{settled}, "
        f"{result.spikes / 1e6:.3g} M spikes, mean rate {result.mean_rate:.3g}; {1e3 * result.seconds:.0f} ms, "
        f"{1e3 * result.seconds / result.settled:.1f} ms per step"
    )
    then = [f"  T={t}: {found_text(result.steps[t], result.names)}" for t in steps]
    return [first, *then, *([f"  ANN: {_found(ann)}; {1e3 * ann.seconds:.0f} ms"] if ann else [])]


def _found(result: Result) -> str:
    return found_text(result.detections, result.names)
