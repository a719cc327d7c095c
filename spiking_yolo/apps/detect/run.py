"""The sources of a call, image by image and frame by frame, through the network."""

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count, islice
from pathlib import Path

import numpy as np

from spiking_yolo.apps.console import write
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
from spiking_yolo.observe import Input, Observation, Want, read_input
from spiking_yolo.options import Progress, load, silent
from spiking_yolo.result import Result

# Timesteps on the slider of a page, of a long run.
SLIDER_STEPS = 24


@dataclass(frozen=True, kw_only=True)
class Seen:
    """An image, or a frame of a video, and its boxes.

    Attributes:
        source: As it was named.
        observation: What was seen of it.
        result: Result of the spiking network.
        ann: Result of the ANN, if asked for.
        name: Name of its files, without a suffix.
        fps: Of a frame: how many of them a second has that are looked at.
    """

    source: str
    observation: Observation
    result: Result
    ann: Result | None
    name: str
    fps: float = 0.0

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
            return result.plot()
        titles = f"ANN: {ann.counts()}", f"{result.method}, T = {result.T}: {result.counts()}"
        return side_by_side((ann.plot(), result.plot()), titles)


class Sink:
    """Takes the results of a run and writes one kind of file."""

    def image(self, seen: Seen) -> None:
        """Take an image."""

    def frame(self, seen: Seen) -> None:
        """Take the next frame of a video."""

    def end_video(self) -> None:
        """Finish a video, also one that failed or was interrupted, or had no frame."""

    def close(self) -> None:
        """Finish the run."""


class DetectRun:
    """The network and the sources of one call.

    Args:
        options: What to look at, and how.

    Raises:
        UserError: There is no such source, the options do not fit together, or the network cannot
            be loaded.
    """

    def __init__(self, options: DetectOptions):
        self.options = options
        self.sources = expand(options.sources, options.recursive)
        self.has_video = any(map(is_stream, self.sources))
        if options.page and self.has_video and len(self.sources) > 1:
            raise UserError(f"a page is of photographs or of one video, not of {self.sources}")
        if options.track:
            tracking_library()
        converted = load(options, previewed(self.sources, FEW))
        if self.has_video:
            converted = with_frames(converted, options.frames)
        self.detector = SpikingYOLO(converted, device=options.device)
        classes = class_ids(options.classes or None, self.detector.names)
        self.observer = self.detector.observer(Selection.of(options, classes))
        self.costs = NetworkCosts.of(converted)
        self.T = options.timesteps(converted.recipe)
        self._names: set[str] = set()

    def results(self, sinks: Sequence[Sink], progress: Progress = silent) -> int:
        """Go through all sources; returns how many of several failed.

        Args:
            sinks: What takes every result.
            progress: Called with (what, done, of how many, remark) after each timestep or frame;
                timesteps are those of all sources together.

        Raises:
            UserError: The only source failed; of several, a failure is printed.
        """
        failures = 0
        with ExitStack() as files:
            for sink in sinks:
                files.callback(sink.close)
            for number, source in enumerate(self.sources):
                try:
                    if is_stream(source):
                        self._video(source, sinks, progress)
                    else:
                        self._image(source, number, sinks, progress)
                except UserError as error:
                    if len(self.sources) == 1:
                        raise
                    write(f"error: {error}", file=sys.stderr)
                    failures += 1
        return failures

    def _image(self, source: str, number: int, sinks: Sequence[Sink], progress: Progress) -> None:
        total = len(self.sources) * self.T

        def report(t: int) -> None:
            progress("timesteps", number * self.T + t, total)

        (observation,) = self.observer.observe(
            [source], self.T, self.steps, want=self._want, progress=report
        )
        # A network in which nothing changes any more stops before T.
        report(self.T)
        result = Result.of(observation, self.detector.names, self.detector.converted.recipe)
        ann = None
        if self.options.ann:
            ann = Result.of_ann(observation, self.detector.names)
        name = self._name(source)
        seen = Seen(source=source, observation=observation, result=result, ann=ann, name=name)
        for sink in sinks:
            sink.image(seen)

    def _video(self, source: str, sinks: Sequence[Sink], progress: Progress) -> None:
        with ExitStack() as files:
            for sink in sinks:
                files.callback(sink.end_video)
            for seen in self._frames(source, progress):
                for sink in sinks:
                    sink.frame(seen)

    def _frames(self, source: str, progress: Progress) -> Iterator[Seen]:
        options, converted = self.options, self.detector.converted
        name = self._name(source)
        with open_video(source) as video:
            fps = video.fps / options.every
            assert self.observer.network is not None
            stream = Stream(self.observer.network, options.timesteps(converted.recipe, True))
            frames = frames_to_read(video.count, options.every, options.max_frames)
            trackers = [Tracker(fps, options.track_conf) for _ in range(2 * options.track)]
            observations = self.observer.follow(
                self._inputs(video), stream, options.steps, want=self._want
            )
            for number, observation in enumerate(observations, 1):
                result = Result.of(observation, self.detector.names, converted.recipe)
                ann = None
                if options.ann:
                    ann = Result.of_ann(observation, self.detector.names)
                if options.track:
                    result = result.tracked(trackers[0])
                    ann = ann and ann.tracked(trackers[1])
                progress("frames", number, frames, result.counts())
                yield Seen(
                    source=source,
                    observation=observation,
                    result=result,
                    ann=ann,
                    name=name,
                    fps=fps,
                )

    def _inputs(self, video: Video) -> Iterator[Input]:
        every = self.options.every
        images = islice(video.frames(every), self.options.max_frames)
        for index, image in enumerate(images):
            number = index * every
            yield read_input(image, self.detector.spec, False, number, number / video.fps)

    def _name(self, source: str) -> str:
        """A name for the files of a source, unique in the run: a, then a-2 of another folder."""
        stem = file_name(f"webcam{source}" if is_webcam(source) else Path(source).stem)
        numbered = (f"{stem}-{number}" for number in count(2))
        name = stem
        while name in self._names:
            name = next(numbered)
        self._names.add(name)
        return name

    @cached_property
    def steps(self) -> list[int]:
        """Timesteps of an image at which boxes are wanted.

        Of a page all; of a long run SLIDER_STEPS, denser at the start, where more happens.
        """
        if not self.options.page or self.options.steps:
            return sorted({*self.options.steps, self.T})
        if self.T <= SLIDER_STEPS:
            return list(range(1, self.T + 1))
        return sorted({round(float(t)) for t in np.geomspace(1, self.T, SLIDER_STEPS)})

    @cached_property
    def _want(self) -> list[Want]:
        if self.options.page:
            return ["boxes", "maps", "ann", "layers"]
        if self.options.ann:
            return ["boxes", "ann"]
        return ["boxes"]


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
        problem = f"method {recipe.name} cannot keep its state between the frames of a video"
        if frames == "keep":
            raise UserError(f"{problem}: give --frames reset, or another --method")
        warnings.warn(Notice(f"{problem}: each frame is a new image"), stacklevel=2)
    if frames is None:
        return converted
    return replace(converted, recipe=recipe.with_settings({"encoding.frames": frames}))
