"""The sources of a call, image by image and frame by frame, through the network."""

import itertools
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from spiking_yolo.apps.detect import DetectOptions
from spiking_yolo.apps.evaluate.costs import NetworkCosts
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.load import FEW
from spiking_yolo.data.sources import expand, is_stream, is_webcam
from spiking_yolo.data.video import Video, frames_to_read, open_video, previewed
from spiking_yolo.decode.selection import Selection, class_ids
from spiking_yolo.decode.tracking import Tracker, tracking_library
from spiking_yolo.detector import SpikingYOLO
from spiking_yolo.draw.boxes import side_by_side
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.integer.stream import Stream
from spiking_yolo.io.names import file_name
from spiking_yolo.metrics.energy import NetworkSize, Work
from spiking_yolo.observe import Input, Observation, Observer, Want, layer_operations, read_input
from spiking_yolo.options import Progress, drawn, load, silent
from spiking_yolo.result import Result

# Confidence from which a page follows an object, whatever boxes are shown.
FAINT = 0.01
# Timesteps on the slider of a page, of a long run.
SLIDER_STEPS = 24


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """An image and its boxes.

    Attributes:
        source: As it was named.
        seen: What was seen of it; of a photograph for a page with boxes from FAINT on.
        result: Result of the spiking network.
        ann: Result of the ANN, if asked for.
        name: Name of its files, without a suffix.
        style: How boxes are drawn, as `Result.plot` takes it.
    """

    source: str
    seen: Observation
    result: Result
    ann: Result | None
    name: str
    style: Mapping[str, Any]

    @property
    def label(self) -> str:
        """clip.mp4#12 for a frame of a video, else the source."""
        if self.result.frame is None:
            return self.source
        return f"{self.source}#{self.result.frame}"

    def annotated(self) -> np.ndarray:
        """The picture with its boxes; beside the ANN's if there are any."""
        result, ann = self.result, self.ann
        if ann is None:
            return result.plot(**self.style)
        method = result.method
        if result.remark:
            method += f", {result.remark}"
        titles = (f"ANN: {ann.counts()}", f"{method}, T = {result.T}: {result.counts()}")
        return side_by_side((ann.plot(**self.style), result.plot(**self.style)), titles)


@dataclass(frozen=True, kw_only=True)
class FrameResult(ImageResult):
    """A frame of a video and its boxes.

    Attributes:
        frame: Its number, from 0.
        fps: Frames per second of those that are looked at.
        work: What the frame cost.
        size: Size of the network, for its energy.
        layers: Operations of each layer per multiply-accumulate of the ANN, if somebody shows them.
    """

    frame: int
    fps: float
    work: Work
    size: NetworkSize
    layers: Mapping[str, float]


class Sink:
    """Takes the results of a run and writes one kind of file."""

    def video(self) -> "Sink":
        """What takes the frames of the next video."""
        return self

    def image(self, seen: ImageResult) -> None:
        """Take an image."""

    def frame(self, seen: FrameResult) -> None:
        """Take the next frame of a video."""

    def end_video(self) -> None:
        """Finish a video, also one that failed or was interrupted."""

    def close(self) -> None:
        """Finish the run."""


@dataclass(frozen=True)
class Failure:
    """A source that could not be read, or whose files could not be written."""

    source: str
    error: UserError


class DetectRun:
    """The network and the sources of one call.

    Args:
        options: What to look at, and how.
        converted: The network of `options`, if it has been loaded already.

    Raises:
        UserError: There is no such source, the options do not fit together, or the network cannot
            be loaded.
    """

    def __init__(self, options: DetectOptions, converted: Converted | None = None):
        self.options = options
        self.sources = drawn(expand(options.sources, options.recursive), options)
        self.has_video = any(map(is_stream, self.sources))
        if not self.has_video:
            check_no_video_options(options)
        if options.page and self.has_video and len(self.sources) > 1:
            raise UserError(
                "a page is of photographs or of one video, not of"
                f" {len(self.sources)} sources with a video"
            )
        if options.track:
            tracking_library()
        converted = converted or load(options, previewed(self.sources, FEW))
        if self.has_video:
            converted = with_frames(converted, options.frames)
        self.detector = SpikingYOLO(converted, device=options.device)
        self.overlay_layers: tuple[str, ...] = ()
        if options.overlay:
            self.overlay_layers = choose_layers(options.layers, self.detector)
        classes = class_ids(options.classes or None, self.detector.names)
        self.selection = Selection.of(options, classes)
        self._names = FileNames()

    def results(
        self, sinks: Sequence[Sink] = (), progress: Progress = silent
    ) -> Generator[ImageResult | FrameResult | Failure]:
        """Go through all sources.

        Args:
            sinks: What takes every result before it is yielded.
            progress: Called with (what, done, of how many, remark) after each timestep or frame;
                timesteps are those of all images together.

        Raises:
            UserError: The only source failed; of several, a failure is yielded.
        """
        with ExitStack() as files:
            for sink in sinks:
                files.callback(sink.close)
            for number, source in enumerate(self.sources):
                try:
                    if is_stream(source):
                        yield from self._video(source, sinks, progress)
                    else:
                        yield self._image(source, number, sinks, progress)
                except UserError as error:
                    if len(self.sources) == 1:
                        raise
                    yield Failure(source, error)

    def _image(
        self, source: str, number: int, sinks: Sequence[Sink], progress: Progress
    ) -> ImageResult:
        before = images = 0
        for place, other in enumerate(self.sources):
            if not is_stream(other):
                images += 1
                before += place < number
        where = source
        if len(self.sources) > 1:
            where = f"source {number + 1}/{len(self.sources)}"

        def of_all(t: int, T: int) -> None:
            progress("timesteps", before * T + t, images * T, where)

        seen = self.image(source, of_all)
        for sink in sinks:
            sink.image(seen)
        return seen

    def _video(
        self, source: str, sinks: Sequence[Sink], progress: Progress
    ) -> Generator[FrameResult]:
        of_video = [sink.video() for sink in sinks]
        with ExitStack() as files:
            for sink in of_video:
                files.callback(sink.end_video)
            for seen in self.frames(source, progress):
                for sink in of_video:
                    sink.frame(seen)
                yield seen

    def image(self, source: str, progress: Progress = silent) -> ImageResult:
        """Detect objects in an image. progress: called with (t, T) after each timestep."""
        T = self.T
        (seen,) = self.observer.observe(
            [source], T, self.steps, want=self._want, progress=lambda t: progress(t, T)
        )
        # A network in which nothing changes any more stops before T.
        progress(T, T)
        names = self.detector.names
        shown = self._shown(seen)
        ann = None
        if self.options.ann:
            ann = Result.of_ann(shown, names)
        return ImageResult(
            source=source,
            seen=seen,
            result=Result.of(shown, names, self.detector.converted.recipe),
            ann=ann,
            name=self._names.of(source),
            style=self.options.style,
        )

    def _shown(self, seen: Observation) -> Observation:
        """With the boxes that are shown alone."""
        if not self.options.page:
            return seen
        sure = self.selection.sure
        steps = {t: replace(one, prediction=sure(one.boxes)) for t, one in seen.steps.items()}
        return replace(seen, steps=steps, ann=sure(seen.ann_boxes))

    def frames(self, source: str, progress: Progress = silent) -> Iterator[FrameResult]:
        """Detect objects in the frames of a video."""
        options = self.options
        converted = self.detector.converted
        T = options.timesteps(converted.recipe, frame=True)
        name = ""
        with open_video(source) as video:
            fps = video.fps / options.every
            observer = self.detector.observer(self.selection)
            assert observer.network is not None
            stream = Stream(observer.network, T)
            count = frames_to_read(video.count, options.every, options.max_frames)
            trackers = [Tracker(fps, options.track_conf) for _ in range(2 * options.track)]
            inputs = self._inputs(video)
            observations = observer.follow(inputs, stream, options.steps, want=self._want)
            for number, seen in enumerate(observations):
                name = name or self._names.of(source)
                result = Result.of(seen, self.detector.names, converted.recipe)
                ann = None
                if options.ann:
                    ann = Result.of_ann(seen, self.detector.names)
                if options.track:
                    result = result.tracked(trackers[0])
                    ann = ann and ann.tracked(trackers[1])
                work, size = self.costs.observed(seen, T)
                by_layer = seen.last.operations_by_layer
                how = (converted.graph, self.costs.counting, seen.macs)
                progress("frames", number + 1, count, result.counts())
                yield FrameResult(
                    source=source,
                    seen=seen,
                    result=result,
                    ann=ann,
                    name=name,
                    style=options.style,
                    frame=number * options.every,
                    fps=fps,
                    work=work,
                    size=size,
                    layers=layer_operations(by_layer, *how),
                )

    def _inputs(self, video: Video) -> Iterator[Input]:
        every = self.options.every
        images = islice(video.frames(every), self.options.max_frames)
        for index, image in enumerate(images):
            number = index * every
            yield read_input(image, self.detector.spec, False, number, number / video.fps)

    @cached_property
    def T(self) -> int:
        """Timesteps of an image."""
        return self.options.timesteps(self.detector.converted.recipe)

    @cached_property
    def steps(self) -> list[int]:
        """Timesteps of an image at which boxes are wanted: of a page all, or SLIDER_STEPS."""
        if self.options.page and not self.options.steps:
            return spread_steps(self.T, SLIDER_STEPS)
        return sorted({*self.options.steps, self.T})

    @cached_property
    def _want(self) -> list[Want]:
        options = self.options
        want: list[Want] = ["boxes"]
        if options.overlay or options.page:
            want.append("maps")
        if options.ann or options.page:
            want.append("ann")
        if options.timeline or options.page:
            want.append("layers")
        return want

    @cached_property
    def observer(self) -> Observer:
        """Observer of images; a video has one of its own, whose state stays."""
        selection = self.selection
        if self.options.page:
            # Objects are followed below the confidence of the boxes that are shown.
            selection = replace(selection, conf=min(selection.conf, FAINT), max_det=10**6)
        return self.detector.observer(selection)

    @cached_property
    def costs(self) -> NetworkCosts:
        return NetworkCosts.of(self.detector.converted)


class FileNames:
    """Names for the files of each source, without a suffix: unique in a run.

    a for a.jpg, a-png for a.png beside it, a-2 for an a.jpg of another folder.
    """

    def __init__(self) -> None:
        self._sources: dict[str, str] = {}  # by name

    def of(self, source: str) -> str:
        path = Path(source)
        if is_webcam(source):
            path = Path(f"webcam{source}")
        stem = file_name(path.stem)
        candidates = [stem]
        first = self._sources.get(stem)
        if first is not None and first != str(path) and Path(first).parent == path.parent:
            candidates.append(f"{stem}-{file_name(path.suffix[1:].lower())}")
        numbered = (f"{stem}-{number}" for number in itertools.count(2))
        names = itertools.chain(candidates, numbered)
        name = next(name for name in names if name not in self._sources)
        self._sources[name] = str(path)
        return name


def check_no_video_options(options: DetectOptions) -> None:
    """Raises UserError for an option that has no meaning for images."""
    of_videos = {
        "--save-mot": options.save_mot,
        "--timeline": options.timeline,
        "--track": options.track,
        "--frames": options.frames,
    }
    flags = [flag for flag, value in of_videos.items() if value]
    if flags:
        raise UserError(
            f"{' and '.join(flags)}: for videos and webcams only; name one, or leave it out"
        )


def with_frames(converted: Converted, frames: str | None) -> Converted:
    """Choose whether the network keeps its state from frame to frame.

    Args:
        converted: The network.
        frames: "keep", "reset", or None: as the recipe says, with a Notice if the method cannot
            keep its state.

    Raises:
        UserError: "keep" for a method that cannot.
    """
    recipe = converted.recipe
    if not recipe.complete and frames != "reset":
        problem = (
            f"method {recipe.name} takes several steps and cannot keep its state between the frames"
            " of a video"
        )
        if frames == "keep":
            raise UserError(f"{problem}: give --frames reset, or another --method")
        warnings.warn(Notice(f"{problem}: each frame is a new image"), stacklevel=2)
    if frames is None:
        return converted
    return replace(converted, recipe=recipe.with_settings({"encoding.frames": frames}))


def spread_steps(T: int, most: int) -> list[int]:
    """Timesteps to show: all of a short run; of a long one at most so many, denser at the start,
    where more happens.
    """
    if most >= T:
        return list(range(1, T + 1))
    return sorted({round(float(t)) for t in np.geomspace(1, T, most)})


def choose_layers(choice: tuple[str, ...], detector: SpikingYOLO) -> tuple[str, ...]:
    """Layers for the heat maps.

    Args:
        choice: ("auto",): the first, the middle and the last; ("all",); or names or titles.
        detector: Whose layers they are.
    """
    layers = detector.layers
    if choice == ("auto",):
        return layers[0], layers[len(layers) // 2], layers[-1]
    if choice == ("all",):
        return tuple(layers)
    names = tuple(map(detector.layer_named, choice))
    for text, name in zip(choice, names, strict=True):
        if name not in layers:
            raise UserError(f"--layers: {text} has no place in the image, so there is no heat map")
    return names
