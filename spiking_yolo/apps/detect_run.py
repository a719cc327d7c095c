"""Every source through the network: images, and the frames of videos and webcams."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from spiking_yolo.apps.detect import DetectOptions
from spiking_yolo.apps.evaluate.costs import CostModel
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.load import FEW
from spiking_yolo.data.detection import spread
from spiking_yolo.data.images import Picture
from spiking_yolo.data.sources import Video, expand, is_stream, open_video
from spiking_yolo.decode.selection import class_ids
from spiking_yolo.detector import SpikingYOLO
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.metrics.energy import Size, Work, charged
from spiking_yolo.options import drawn, load
from spiking_yolo.result import Result

_FRAMES_OF_GIF = 16
# Frames from one that is looked at to the next.
PREVIEW = 10


@dataclass(frozen=True)
class Sighting:
    """One image, or one frame of a video, with its detections.

    ann: those of the original network, if asked for. layers: whose heat maps are wanted. titles:
    what to call layers. video: the frame's. work: what the frame cost, and size: of the network,
    for its energy.
    """

    source: str
    result: Result
    ann: Result | None
    layers: tuple[str, ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    video: Video | None = None
    work: Work | None = None
    size: Size | None = None

    @property
    def frame(self) -> int | None:
        return self.result.frame

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

    def end(self, source: str) -> None:
        """After a source, also when it failed or was interrupted. A UserError counts as its
        failure.
        """

    def failure(self, source: str, error: UserError) -> None:
        """After a source that could not be read, when there are others."""


def detect(
    options: DetectOptions, watcher: Watcher, converted: Converted | None = None
) -> list[str]:
    """Run all sources; returns those that failed. Raises UserError when the call or the only source
    is wrong.

    converted: the network of `options`, where it is loaded already.
    """
    sources = drawn(expand(options.sources, options.recursive), options)
    streams = any(map(is_stream, sources))
    of_videos = {"--save-mot": options.save_mot, "--timeline": options.timeline}
    if not streams and (wanted := [flag for flag, given in of_videos.items() if given]):
        raise UserError(
            f"{' and '.join(wanted)}: for videos and webcams only; name one, or leave it out"
        )
    converted = converted or load(options, previewed(sources))
    converted = keeping(converted, options.frames) if streams else converted
    detector = SpikingYOLO(
        converted, device=options.device, precision=options.precision, compile=options.compile
    )
    run = _Run(options, detector, watcher)
    failed = []
    for number, source in enumerate(sources):
        watcher.source(source, number, len(sources))
        try:
            try:
                for sighting in run.frames(source) if is_stream(source) else run.image(source):
                    watcher.result(sighting)
            finally:
                watcher.end(source)
        except UserError as error:
            if len(sources) == 1:
                raise
            failed.append(source)
            watcher.failure(source, error)
    return failed


def previewed(sources: Sequence[str]) -> Iterator[Picture]:
    """The images, a few that are spread over them first, then frames of the first video file that
    can be read.

    Raises the UserError of the first video where there is nothing else.
    """
    images = [source for source in sources if not is_stream(source)]
    first = spread(images, FEW)
    yield from map(Picture.file, dict.fromkeys([*first, *images]))
    wrong: list[UserError] = []
    for name in (source for source in sources if is_stream(source) and Path(source).is_file()):
        try:
            with open_video(name) as video:
                frames = list(islice(video.frames(PREVIEW), FEW))
        except UserError as error:
            wrong.append(error)
            continue
        yield from (Picture(f"{name}#{k * PREVIEW}", frame) for k, frame in enumerate(frames))
        return
    if wrong and not images:
        raise wrong[0]


def keeping(converted: Converted, frames: str | None) -> Converted:
    """The network that keeps its state from frame to frame or not.

    frames: "keep", "reset", or None: as the recipe has it, where a Notice says that the method
    cannot. Raises UserError for "keep" with a method that cannot.
    """
    recipe = converted.recipe
    if recipe.encoding.coding == "rate" and frames != "reset":
        cannot = (
            f"method {recipe.name} sends rates and cannot keep its state between the frames of a"
            " video"
        )
        if frames == "keep":
            raise UserError(f"{cannot}: give --frames reset, or another --method")
        warnings.warn(Notice(f"{cannot}: each frame is a new image"), stacklevel=2)
    return (
        replace(converted, recipe=recipe.with_settings({"encoding.frames": frames}))
        if frames
        else converted
    )


class _Run:
    """The detector, and how it is asked."""

    def __init__(self, options: DetectOptions, detector: SpikingYOLO, watcher: Watcher):
        self.options, self.detector, self.watcher = options, detector, watcher
        self.layers = choose_layers(options.layers, detector.layers) if options.overlay else ()
        classes = class_ids(options.classes or None, detector.names)
        self.choice: dict[str, Any] = {**options.box_options(), "classes": classes}

    @cached_property
    def costs(self) -> CostModel:
        return CostModel.of(self.detector.converted)

    @cached_property
    def titles(self) -> dict[str, str]:
        return self.detector.layer_titles() if self.layers else {}

    def image(self, source: str) -> Iterator[Sighting]:
        options, T = self.options, self.options.timesteps()
        steps = {*options.steps, *(spread_steps(T, _FRAMES_OF_GIF) if options.gif else ())}
        maps = options.overlay or options.gif
        result = self.detector.detect(
            source, T, steps, maps=maps, progress=self.watcher.step, **self.choice
        )
        yield Sighting(source, result, self._ann(result.image), self.layers, self.titles)

    def frames(self, source: str) -> Iterator[Sighting]:
        options, every = self.options, self.options.every
        T = options.timesteps(self.detector.converted.recipe.keeps_frames)
        with open_video(source) as video:
            taken = islice(video.frames(every), options.max_frames)
            results = self.detector.stream(
                taken,
                T,
                options.steps,
                refresh=options.refresh,
                maps=options.overlay,
                **self.choice,
            )
            for index, result in enumerate(results):
                result = replace(result, frame=index * every, time=index * every / video.fps)
                yield Sighting(
                    source,
                    result,
                    self._ann(result.image),
                    self.layers,
                    {},
                    video,
                    *self._cost(result),
                )

    def _cost(self, result: Result) -> tuple[Work, Size]:
        costs, charge = self.costs, charged(self.costs.value)
        size = costs.size(result.macs, sum(result.neurons_by_layer.values()))
        sent, operations = result.sent[charge], result.operations[charge]
        return (
            costs.work(result.T, size, operations, sent, result.updates, result.analogue_macs),
            size,
        )

    def _ann(self, pixels: np.ndarray) -> Result | None:
        return self.detector.detect_ann(pixels, **self.choice) if self.options.ann else None


def spread_steps(T: int, most: int) -> list[int]:
    """Timesteps to show: all of a short run, else at most so many, denser at the start, where more
    happens.
    """
    if most >= T:
        return list(range(1, T + 1))
    return sorted({round(float(t)) for t in np.geomspace(1, T, most)})


def choose_layers(wanted: tuple[str, ...], layers: list[str]) -> tuple[str, ...]:
    """Layers for the heat maps: ("auto",) is the first, the middle and the last; ("all",); or
    names.
    """
    if wanted == ("auto",):
        return layers[0], layers[len(layers) // 2], layers[-1]
    chosen = tuple(layers) if wanted == ("all",) else wanted
    if unknown := [name for name in chosen if name not in layers]:
        raise UserError(f"--layers: no layer {unknown[0]!r}; the layers are {', '.join(layers)}")
    return chosen
