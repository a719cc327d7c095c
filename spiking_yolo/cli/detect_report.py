"""What `spiking-yolo detect` prints and saves on its way."""

from __future__ import annotations

import sys

from tqdm import tqdm

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import run_directory
from spiking_yolo.io.sources import is_stream
from spiking_yolo.result import Result
from spiking_yolo.studies.detect.options import DetectOptions
from spiking_yolo.studies.detect.outputs import Outputs, found_text
from spiking_yolo.studies.detect.run import Sighting, Watcher
from spiking_yolo.studies.options import Progress


class Report(Watcher):
    """Lines and files of every image. progress(text, done, total): of the timesteps. count: of sources."""

    def __init__(self, options: DetectOptions, progress: Progress):
        self.options, self.progress = options, progress
        self.outputs = Outputs(run_directory(options.project, options.name, options.exist_ok), options)
        self.count = 0
        self.place = ""  # where we are, beside the bar

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *error: object) -> None:
        self.outputs.close()
        if self.outputs.used:
            print(f"results saved to {self.outputs.directory}")

    def source(self, source: str, number: int, count: int) -> None:
        self.count = count
        self.place = f"source {number + 1}/{count}" if count > 1 else source
        self.outputs.start()
        if is_stream(source) and (self.options.overlay or self.options.gif):
            tqdm.write(f"{source}: --overlay and --gif are for images, a video gets neither", file=sys.stderr)

    def step(self, t: int) -> None:
        self.progress(self.place, t, self.options.T)

    def result(self, sighting: Sighting) -> None:
        tqdm.write("\n".join(lines(sighting, self.options.steps)))
        self.outputs.save(sighting)
        if sighting.video:
            self.place = f"{sighting.source}, after frame {sighting.frame} of {sighting.video.count or 'a webcam'}"

    def failure(self, source: str, error: UserError) -> None:
        tqdm.write(f"error: {error}", file=sys.stderr)


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
