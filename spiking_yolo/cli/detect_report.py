"""What `spiking-yolo detect` prints and saves on its way."""

import sys
from dataclasses import replace

from spiking_yolo.apps.console import Bars, next_command, write
from spiking_yolo.apps.detect import DetectOptions
from spiking_yolo.apps.detect_run import Sighting, Watcher
from spiking_yolo.apps.sinks import Outputs
from spiking_yolo.convert.methods import patience
from spiking_yolo.data.sources import is_stream, is_webcam, taken
from spiking_yolo.decode.boxes import listed
from spiking_yolo.errors import UserError
from spiking_yolo.io.run_folder import run_directory


class Report(Watcher):
    """Lines and files of every image, and a bar of its timesteps; of a video a bar of its frames,
    and one line.
    """

    def __init__(self, options: DetectOptions):
        self.options, self.bars = options, Bars()
        self.outputs = Outputs(
            run_directory(options.project, options.name, options.exist_ok), options
        )
        self.count = 0  # of sources
        self.place = ""  # where we are, beside the bar
        self.seen = ""  # the first source with results

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.close()
        self.outputs.close()
        if self.outputs.used:
            print(f"results saved to {self.outputs.directory}")
            if self.seen:
                print(next_command("report", self.options, self.seen))

    def source(self, source: str, number: int, count: int) -> None:
        self.count = count
        self.place = f"source {number + 1}/{count}" if count > 1 else source
        self.frames = 0  # of this video so far
        self.outputs.start()
        if is_stream(source) and self.options.gif:
            write(f"{source}: --gif is for images, a video gets none", file=sys.stderr)

    def step(self, t: int) -> None:
        self.bars("timesteps", t, self.options.timesteps(), self.place)

    def result(self, sighting: Sighting) -> None:
        self.seen = self.seen or ("" if is_webcam(sighting.source) else sighting.source)
        if sighting.video:
            self.outputs.save(sighting)
            self.frames += 1
            total = taken(sighting.video.count, self.options.every, self.options.max_frames)
            self.bars("frames", self.frames, total, sighting.result.counts())
            return
        self.bars.close()
        write(replace(sighting.result, path=sighting.label).summary(self.options.steps))
        if not len(sighting.result) and (
            hint := patience(sighting.result.method, sighting.result.T)
        ):
            write(f"  {hint}")
        if sighting.ann is not None:
            found = listed(sighting.ann.detections, sighting.ann.names)
            write(f"  ANN: {found}; {1e3 * sighting.ann.seconds:.0f} ms")
        self.outputs.save(sighting)

    def end(self, source: str) -> None:
        self.bars.close()
        if (film := self.outputs.end()) and film.glimpses:
            write(f"{source}: {film.summary()}")

    def failure(self, source: str, error: UserError) -> None:
        write(f"error: {error}", file=sys.stderr)
