"""What `spiking-yolo detect` prints and saves on its way."""

import sys
from dataclasses import replace

from spiking_yolo.cli.bars import Bars, write
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import run_directory
from spiking_yolo.io.sources import is_stream
from spiking_yolo.studies.detect.options import DetectOptions
from spiking_yolo.studies.detect.outputs import Outputs
from spiking_yolo.studies.detect.run import Sighting, Watcher


class Report(Watcher):
    """Lines and files of every image, and a bar of its timesteps. count: of sources."""

    def __init__(self, options: DetectOptions):
        self.options, self.bars = options, Bars()
        self.outputs = Outputs(run_directory(options.project, options.name, options.exist_ok), options)
        self.count = 0
        self.place = ""  # where we are, beside the bar

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.close()
        self.outputs.close()
        if self.outputs.used:
            print(f"results saved to {self.outputs.directory}")

    def source(self, source: str, number: int, count: int) -> None:
        self.count = count
        self.place = f"source {number + 1}/{count}" if count > 1 else source
        self.outputs.start()
        if is_stream(source) and (self.options.overlay or self.options.gif):
            write(f"{source}: --overlay and --gif are for images, a video gets neither", file=sys.stderr)

    def step(self, t: int) -> None:
        self.bars("timesteps", t, self.options.T, self.place)

    def result(self, sighting: Sighting) -> None:
        self.bars.close()
        write(replace(sighting.result, path=sighting.label).summary(self.options.steps))
        if sighting.ann is not None:
            write(f"  ANN: {sighting.ann.counts()}; {1e3 * sighting.ann.seconds:.0f} ms")
        self.outputs.save(sighting)
        if sighting.video:
            self.place = f"{sighting.source}, after frame {sighting.frame} of {sighting.video.count or 'a webcam'}"

    def failure(self, source: str, error: UserError) -> None:
        write(f"error: {error}", file=sys.stderr)
