"""Every source through the network: images, and the frames of videos and webcams."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from spiking_yolo.decode.selection import class_ids
from spiking_yolo.detector import SpikingYOLO
from spiking_yolo.errors import UserError
from spiking_yolo.io.sources import Video, expand, is_stream, open_video
from spiking_yolo.result import Result
from spiking_yolo.studies.detect.options import DetectOptions
from spiking_yolo.studies.options import load

_FRAMES_OF_GIF = 16


@dataclass(frozen=True)
class Sighting:
    """One image, or one frame of a video, with its detections.

    ann: those of the original network, if asked for. layers: whose heat maps are wanted. frame: number in the video.
    """

    source: str
    result: Result
    ann: Result | None
    layers: tuple[str, ...] = ()
    frame: int | None = None
    video: Video | None = None

    @property
    def label(self) -> str:
        """photo.jpg, or clip.mp4#12 for a frame."""
        return self.source if self.frame is None else f"{self.source}#{self.frame}"


class Watcher:
    """What a caller of `detect` may do on the way; nothing by default."""

    def source(self, source: str, number: int, count: int) -> None:
        """Before source `number` (0, 1, ...) of `count`."""

    def step(self, t: int) -> None:
        """After every timestep of every image."""

    def result(self, sighting: Sighting) -> None:
        """After every image and frame. A UserError from here counts as the source's failure."""

    def failure(self, source: str, error: UserError) -> None:
        """After a source that could not be read, when there are others."""


def detect(options: DetectOptions, watcher: Watcher) -> list[str]:
    """Run all sources; returns those that failed. Raises UserError when the call or the only source is wrong."""
    sources = expand(options.sources)[: options.limit]
    detector = SpikingYOLO(load(options), device=options.device, precision=options.precision, compile=options.compile)
    run = _Run(options, detector, watcher)
    failed = []
    for number, source in enumerate(sources):
        watcher.source(source, number, len(sources))
        try:
            for sighting in run.frames(source) if is_stream(source) else run.image(source):
                watcher.result(sighting)
        except UserError as error:
            if len(sources) == 1:
                raise
            failed.append(source)
            watcher.failure(source, error)
    return failed


class _Run:
    """The detector, and how it is asked."""

    def __init__(self, options: DetectOptions, detector: SpikingYOLO, watcher: Watcher):
        self.options, self.detector, self.watcher = options, detector, watcher
        self.layers = choose_layers(options.layers, detector.layers) if options.overlay else ()
        classes = class_ids(options.classes or None, detector.names)
        thresholds = {name: getattr(options, name) for name in ("conf", "iou", "max_det")}
        self.choice: dict[str, Any] = {**thresholds, "classes": classes}

    def image(self, source: str) -> Iterator[Sighting]:
        options = self.options
        steps = {*options.steps, *(gif_steps(options.T) if options.gif else ())}
        result = self._detect(source, steps, maps=options.overlay or options.gif)
        yield Sighting(source, result, self._ann(result), self.layers)

    def frames(self, source: str) -> Iterator[Sighting]:
        every = self.options.every
        with open_video(source) as video:
            for index, frame in enumerate(video.frames(every)):
                result = self._detect(frame, self.options.steps)
                yield Sighting(source, result, self._ann(result), frame=index * every, video=video)
                if index + 1 == self.options.max_frames:
                    break

    def _detect(self, source: str | np.ndarray, steps: Any, maps: bool = False) -> Result:
        return self.detector.detect(source, self.options.T, steps, maps=maps, progress=self.watcher.step, **self.choice)

    def _ann(self, result: Result) -> Result | None:
        return self.detector.detect_ann(result.image, **self.choice) if self.options.ann else None


def gif_steps(T: int) -> list[int]:
    """Timesteps for an animation: all of a short run, else denser at the start, where more happens."""
    if T <= _FRAMES_OF_GIF:
        return list(range(1, T + 1))
    return sorted({round(float(t)) for t in np.geomspace(1, T, _FRAMES_OF_GIF)})


def choose_layers(wanted: tuple[str, ...], layers: list[str]) -> tuple[str, ...]:
    """Layers for the heat maps: ("auto",) is the first, the middle and the last; ("all",); or names."""
    if wanted == ("auto",):
        return layers[0], layers[len(layers) // 2], layers[-1]
    chosen = tuple(layers) if wanted == ("all",) else wanted
    if unknown := [name for name in chosen if name not in layers]:
        raise UserError(f"--layers: no layer {unknown[0]!r}; the layers are {', '.join(layers)}")
    return chosen
