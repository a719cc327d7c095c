"""The figures of `detect --overlay` and `--timeline`, as sinks of a run."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spiking_yolo.apps.detect.run import DetectRun, Sink, Source
from spiking_yolo.data.video import VideoWriter
from spiking_yolo.draw.figure import chosen_layers, draw_timeline, pixels, save_figure
from spiking_yolo.result import Result


def figure_sinks(run: DetectRun, folder: Path) -> list[Sink]:
    """The sinks of the figures that are asked for.

    Raises:
        UserError: The network has no layer of a name that --overlay gives.
    """
    options = run.options
    sinks: list[Sink] = []
    if options.overlay is not None:
        layers = [node.name for node in run.detector.converted.graph.activations]
        chosen = tuple(chosen_layers(options.overlay, layers)) if options.overlay else ()
        sinks.append(Overlays(folder, options.figures, chosen))
    if options.timeline:
        sinks.append(Timelines(folder, options.figures))
    return sinks


@dataclass
class Overlays(Sink):
    """IMAGE-overlay.SUFFIX, or VIDEO-overlay.mp4, whose scale is that of the first frame: it sends
    everything, and the later ones what changes.
    """

    folder: Path
    suffix: str
    layers: tuple[str, ...]
    _writer: VideoWriter | None = None
    _tops: dict[str, float] = field(default_factory=dict)

    def image(self, source: Source, result: Result) -> None:
        path = self.folder / f"{source.name}-overlay.{self.suffix}"
        save_figure(result.overlay(self.layers), path)

    def frame(self, source: Source, result: Result) -> None:
        if self._writer is None:
            self._writer = VideoWriter(self.folder / f"{source.name}-overlay.mp4", source.fps)
            rates = result.last.rates
            self._tops = {layer: float(rate.max()) for layer, rate in rates.items()}
        self._writer.write(pixels(result.overlay(self.layers, self._tops)))

    def end_video(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


@dataclass
class Timelines(Sink):
    """NAME-timeline.SUFFIX: over the timesteps of an image, or over the frames of a video."""

    folder: Path
    suffix: str
    _frames: list[int] = field(default_factory=list)
    _spikes: list[dict[str, float]] = field(default_factory=list)
    _last: tuple[str, Result] | None = None

    def image(self, source: Source, result: Result) -> None:
        save_figure(result.timeline(), self._path(source.name))

    def frame(self, source: Source, result: Result) -> None:
        self._frames.append(result.frame or 0)
        self._spikes.append(result.spikes_by_layer)
        self._last = source.name, result

    def end_video(self) -> None:
        if self._last is None:
            return
        name, result = self._last
        frames, layers = self._frames, list(self._spikes[0])
        # A frame ends where the next one begins.
        every = frames[1] - frames[0] if len(frames) > 1 else 1
        ends = [*frames, frames[-1] + every]
        spikes = np.array([[one[layer] for one in self._spikes] for layer in layers])
        title = f"{name}: {result.method}, T = {result.T}"
        save_figure(draw_timeline(spikes, ends, layers, "frame", title), self._path(name))
        self._frames, self._spikes, self._last = [], [], None

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}-timeline.{self.suffix}"
