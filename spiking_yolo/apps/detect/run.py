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
from spiking_yolo.apps.evaluate.costs import CostModel
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.uncalibrated import FEW
from spiking_yolo.data.sources import expand, is_live, is_stream, is_webcam
from spiking_yolo.data.video import Video, frames_to_read, open_video, previewed
from spiking_yolo.decode.selection import Selection, class_ids
from spiking_yolo.decode.tracking import Tracker, tracking_library
from spiking_yolo.detector import SpikingYOLO
from spiking_yolo.draw.boxes import side_by_side
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.names import file_name
from spiking_yolo.metrics.energy import NetworkSize, Work
from spiking_yolo.observe import (
    Input,
    Observation,
    Observer,
    Want,
    layer_operations,
    read_input,
)
from spiking_yolo.options import Progress, drawn, load, silent
from spiking_yolo.result import Result
from spiking_yolo.snn.stream import Stream


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """An image and its boxes.

    Attributes:
        source: As it was named.
        result: Of the spiking network.
        ann: Of the ANN, if asked for.
        name: Of its files, without a suffix.
        style: How boxes are drawn, as `Result.plot` takes it.
    """

    source: str
    result: Result
    ann: Result | None
    name: str
    style: Mapping[str, Any]

    @property
    def label(self) -> str:
        return self.source

    def annotated(self) -> np.ndarray:
        """The picture with its boxes; beside the ANN's if there are any."""
        result, ann = self.result, self.ann
        if ann is None:
            return result.plot(**self.style)
        method = f"{result.method}, {result.remark}" if result.remark else result.method
        titles = (f"ANN: {ann.counts()}", f"{method}, T = {result.T}: {result.counts()}")
        pictures = (ann.plot(**self.style), result.plot(**self.style))
        return side_by_side(pictures, titles)


@dataclass(frozen=True, kw_only=True)
class FrameResult(ImageResult):
    """A frame of a video and its boxes.

    Attributes:
        fps: Frames per second of those that are looked at.
        work: What the frame cost.
        size: Of the network, for its energy.
        layers: Operations of each layer per multiply-accumulate of the ANN, if there is a timeline.
    """

    fps: float
    work: Work
    size: NetworkSize
    layers: Mapping[str, float]

    @property
    def frame(self) -> int:
        """Its number, from 0."""
        assert self.result.frame is not None
        return self.result.frame

    @property
    def label(self) -> str:
        """clip.mp4#12"""
        return f"{self.source}#{self.frame}"


class Sink:
    """Takes the results of a run."""

    def video(self) -> "Sink":
        """What takes the frames of one video, of which several may be read side by side."""
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
        has_video = any(map(is_stream, self.sources))
        if not has_video:
            check_no_video_options(options)
        if options.track:
            tracking_library()
        converted = converted or load(options, previewed(self.sources, FEW))
        if has_video:
            converted = with_frames(converted, options.frames)
        self.detector = SpikingYOLO(
            converted,
            device=options.device,
        )
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
        images_done, images = 0, sum(not is_stream(source) for source in self.sources)
        number = 0
        with ExitStack() as files:
            for sink in sinks:
                files.callback(sink.close)
            for group in side_by_side_sources(self.sources, self.options.streams):
                running: list[tuple[str, Generator[ImageResult | FrameResult]]] = []
                reports = of_all_videos(progress, len(group))
                for source, report in zip(group, reports, strict=True):
                    number += 1
                    where = source
                    if len(self.sources) > 1:
                        where = f"source {number}/{len(self.sources)}"
                    if is_stream(source):
                        running.append((source, self._video(source, sinks, report)))
                    else:
                        of_all = of_all_images(progress, images_done, images)
                        images_done += 1
                        running.append((source, self._image(source, where, sinks, of_all)))
                for seen in in_turn(running):
                    if isinstance(seen, Failure) and len(self.sources) == 1:
                        raise seen.error
                    yield seen

    def _image(
        self, source: str, where: str, sinks: Sequence[Sink], progress: Progress
    ) -> Generator[ImageResult | FrameResult]:
        seen = self.image(source, where, progress)
        for sink in sinks:
            sink.image(seen)
        yield seen

    def _video(
        self, source: str, sinks: Sequence[Sink], progress: Progress
    ) -> Generator[ImageResult | FrameResult]:
        of_video = [sink.video() for sink in sinks]
        with ExitStack() as files:
            for sink in of_video:
                files.callback(sink.end_video)
            for seen in self.frames(source, progress):
                for sink in of_video:
                    sink.frame(seen)
                yield seen

    def image(self, source: str, where: str = "", progress: Progress = silent) -> ImageResult:
        """Detect objects in an image."""
        options = self.options
        T = options.timesteps(self.detector.converted.recipe)
        steps = set(options.steps)
        (seen,) = self.observer.observe(
            [source],
            T,
            sorted(steps),
            want=self._want(maps=options.overlay),
            progress=lambda t: progress("timesteps", t, T, where),
        )
        # A network in which nothing changes any more stops before T.
        progress("timesteps", T, T, where)
        result, ann = self._results(seen)
        name = self._names.of(source)
        return ImageResult(source=source, result=result, ann=ann, name=name, style=options.style)

    def frames(self, source: str, progress: Progress = silent) -> Iterator[FrameResult]:
        """Detect objects in the frames of a video."""
        options = self.options
        T = options.timesteps(self.detector.converted.recipe, frame=True)
        name = ""
        with open_video(source) as video:
            fps = video.fps / options.every
            # Of the spiking network and of the ANN.
            trackers: tuple[Tracker | None, ...] = (None, None)
            if options.track:
                trackers = (Tracker(fps, options.track_conf), Tracker(fps, options.track_conf))
            observer = self.detector.observer(self.selection)
            assert observer.network is not None
            stream = Stream(observer.network, T, options.refresh)
            count = frames_to_read(video.count, options.every, options.max_frames)
            inputs = self._inputs(video)
            want = self._want(maps=options.overlay)
            if options.timeline:
                want.append("layers")
            observations = observer.follow(inputs, stream, options.steps, want=want)
            for done, seen in enumerate(observations, 1):
                name = name or self._names.of(source)
                result, ann = self._results(seen, trackers)
                work, size = self.costs.observed(seen, T)
                progress("frames", done, count, result.counts())
                yield FrameResult(
                    source=source,
                    result=result,
                    ann=ann,
                    name=name,
                    style=options.style,
                    fps=fps,
                    work=work,
                    size=size,
                    layers=self._by_layer(seen),
                )

    def _inputs(self, video: Video) -> Iterator[Input]:
        every = self.options.every
        images = islice(video.frames(every), self.options.max_frames)
        for index, image in enumerate(images):
            number = index * every
            yield read_input(image, self.detector.spec, False, number, number / video.fps)

    def _want(self, maps: bool) -> list[Want]:
        want: list[Want] = ["boxes"]
        if maps:
            want.append("maps")
        if self.options.ann:
            want.append("ann")
        return want

    def _results(
        self, seen: Observation, trackers: Sequence[Tracker | None] = (None, None)
    ) -> tuple[Result, Result | None]:
        """Of the spiking network, and of the ANN if asked for, each with its tracker's ids."""
        names = self.detector.names
        result = Result.of(seen, names, self.detector.converted.recipe)
        ann = Result.of_ann(seen, names) if self.options.ann else None
        if trackers[0] is not None:
            result = result.tracked(trackers[0])
        if trackers[1] is not None and ann is not None:
            ann = ann.tracked(trackers[1])
        return result, ann

    @cached_property
    def observer(self) -> Observer:
        """Of images; a video has one of its own, whose state stays."""
        return self.detector.observer(self.selection)

    def _by_layer(self, seen: Observation) -> dict[str, float]:
        graph = self.detector.converted.graph
        layers = seen.last.operations_by_layer
        return layer_operations(layers, graph, self.costs.counting, seen.macs)

    @cached_property
    def layer_titles(self) -> dict[str, str]:
        return self.detector.layer_titles()

    @cached_property
    def costs(self) -> CostModel:
        return CostModel.of(self.detector.converted)


class FileNames:
    """Names for the files of each source, without a suffix: unique in a run.

    a for a.jpg, a-png for a.png beside it, a-2 for an a.jpg of another folder.
    """

    def __init__(self) -> None:
        self._sources: dict[str, str] = {}  # by name

    def of(self, source: str) -> str:
        path = Path(f"webcam{source}" if is_webcam(source) else source)
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
    }
    flags = [flag for flag, value in of_videos.items() if value]
    if flags:
        raise UserError(
            f"{' and '.join(flags)}: for videos and webcams only; name one, or leave it out"
        )


def side_by_side_sources(sources: Sequence[str], files: int) -> list[list[str]]:
    """The sources that are read together: `files` video files, and all cameras, which have no end
    and come last.
    """
    groups: list[list[str]] = []
    for source in sources:
        if is_live(source):
            continue
        # A group of videos that has room for one more.
        if is_stream(source) and groups and is_stream(groups[-1][0]) and len(groups[-1]) < files:
            groups[-1].append(source)
        else:
            groups.append([source])
    cameras = [source for source in sources if is_live(source)]
    return [*groups, cameras] if cameras else groups


def in_turn(
    running: Sequence[tuple[str, Generator[ImageResult | FrameResult]]],
) -> Generator[ImageResult | FrameResult | Failure]:
    """One result of each source in turn, until all have ended. One that fails ends alone."""
    with ExitStack() as unfinished:
        for _, results in running:
            unfinished.callback(results.close)
        left = list(running)
        while left:
            for one in tuple(left):
                source, results = one
                try:
                    seen = next(results, None)
                except UserError as error:
                    left.remove(one)
                    yield Failure(source, error)
                    continue
                if seen is None:
                    left.remove(one)
                else:
                    yield seen


def of_all_videos(progress: Progress, videos: int) -> list[Progress]:
    """The progress of each of several videos that are read side by side, as that of all; how many
    frames they have together is not said.
    """
    if videos == 1:
        return [progress]
    done = [0] * videos

    def of_video(k: int) -> Progress:
        def report(what: str, frames: int, _total: int | None, remark: str = "") -> None:
            done[k] = frames
            progress(what, sum(done), None, remark)

        return report

    return [of_video(k) for k in range(videos)]


def of_all_images(progress: Progress, done: int, images: int) -> Progress:
    """The progress of one of several images, as that of all: each takes T timesteps."""

    def report(what: str, t: int, T: int | None, remark: str = "") -> None:
        if what == "timesteps" and T is not None:
            t, T = done * T + t, images * T
        progress(what, t, T, remark)

    return report


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
    if not recipe.differential and frames != "reset":
        problem = (
            f"method {recipe.name} sends rates and cannot keep its state between the frames of a"
            " video"
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
