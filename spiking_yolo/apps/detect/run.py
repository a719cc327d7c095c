"""The sources of a call, image by image and frame by frame, through the network, and what is
written of them: a sink per kind of file, and one for the terminal.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from spiking_yolo.api import SpikingYOLO
from spiking_yolo.apps.console import write
from spiking_yolo.apps.detect import DetectOptions
from spiking_yolo.apps.detect.verdict import Totals, lines
from spiking_yolo.convert.load import FEW
from spiking_yolo.convert.methods import needed_timesteps
from spiking_yolo.data.mot import MotBoxes, mot_lines
from spiking_yolo.data.sources import expand, is_stream, is_webcam
from spiking_yolo.data.video import open_video, previewed
from spiking_yolo.data.writer import VideoWriter
from spiking_yolo.decode.boxes import listed, times
from spiking_yolo.decode.selection import class_ids
from spiking_yolo.decode.tracking import NO_TRACK
from spiking_yolo.draw.boxes import titled
from spiking_yolo.draw.figure import chosen_layers, draw_timeline, pixels, save_figure
from spiking_yolo.errors import UserError, notice, require
from spiking_yolo.evaluate.baselines import EightBits
from spiking_yolo.integer.video import check_lossless
from spiking_yolo.io.files import Progress, atomic_write, silent
from spiking_yolo.io.text import file_name, finite, write_json
from spiking_yolo.metrics.video import PERSON
from spiking_yolo.observe import Want
from spiking_yolo.result import Result

# Timesteps on the slider of a page, of a long run.
SLIDER_STEPS = 24
# Most pixels on a side of a JPEG.
JPEG_SIDE = 65500
# Share of the operations of a new start from which on later frames say that the camera moves.
MOVING = 0.5


@dataclass(frozen=True)
class Source:
    """An image or a video of a call.

    Attributes:
        path: Its path as the user gave it.
        name: Name of its files, without a suffix.
        fps: Frames per second of a video that are looked at.
    """

    path: str
    name: str
    fps: float = 0.0

    def label(self, result: Result) -> str:
        """clip.mp4#12 for a frame of a video, else the path."""
        return self.path if result.frame is None else f"{self.path}#{result.frame}"


class Sink:
    """Takes the results of a run and writes one kind of file."""

    def image(self, source: Source, result: Result) -> None:
        """Take an image."""

    def frame(self, source: Source, result: Result) -> None:
        """Take the next frame of a video; as an image unless it is overridden."""
        self.image(source, result)

    def end_video(self) -> None:
        """Finish a video, also one that failed or was interrupted, or had no frame."""

    def close(self) -> None:
        """Finish the run."""


class DetectRun:
    """The detector and the sources of one call.

    Args:
        options: What to look at, and how.

    Raises:
        UserError: There is no such source, the options do not fit together, or the network cannot
            be loaded.
    """

    def __init__(self, options: DetectOptions):
        self.options = options
        self.sources = expand(options.sources)[: options.limit]
        self.has_video = any(map(is_stream, self.sources))
        if options.page and self.has_video and len(self.sources) > 1:
            raise UserError(f"a page is of photographs or of one video, not of {self.sources}")
        if (options.track or options.lossless) and not self.has_video:
            notice("photographs have no tracks, nor a frame before: --track, --lossless do nothing")
        elif options.track:
            require("trackers", "track")
        video = self.has_video and not options.lossless
        converted = options.convert(previewed(self.sources, FEW), video)
        recipe = converted.recipe
        if self.has_video and options.lossless:
            check_lossless(recipe)
        if self.has_video and not recipe.complete:
            problem = f"method {recipe.name} cannot keep its state between frames"
            notice(f"{problem} of a video: each is a new image")
        square = options.square or options.exact
        self.detector = SpikingYOLO(converted, square=square, device=options.device)
        self.T = options.T or max(options.steps, default=needed_timesteps(recipe.name))
        self.steps = sorted({*options.steps, self.T})
        if options.page and not options.steps:
            few = {round(float(t)) for t in np.geomspace(1, self.T, SLIDER_STEPS)}
            self.steps = sorted(few) if self.T > SLIDER_STEPS else list(range(1, self.T + 1))
        if options.timeline:
            self.steps = list(range(1, self.T + 1))
        want: list[Want] = ["ann", "maps", "layers"] if options.page else ["ann"] * options.ann
        if options.overlay is not None:
            want.append("maps")
        classes = class_ids(options.classes or None, self.detector.names)
        # What every call of the detector is given.
        self._asked: dict[str, Any] = {**options.box_options(), "classes": classes, "want": want}
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

    def _image(self, path: str, number: int, sinks: Sequence[Sink], progress: Progress) -> None:
        total = len(self.sources) * self.T

        def report(t: int) -> None:
            progress("timesteps", number * self.T + t, total)

        result = self.detector.detect(path, self.T, self.steps, progress=report, **self._asked)
        # A network in which nothing changes any more stops before T.
        report(self.T)
        source = Source(path, self._name(path))
        for sink in sinks:
            sink.image(source, result)

    def _video(self, path: str, sinks: Sequence[Sink], progress: Progress) -> None:
        options, name = self.options, self._name(path)
        how: dict[str, Any] = {"every": options.every, "lossless": options.lossless}
        how |= {"track": options.track, "track_conf": options.track_conf, **self._asked}
        with ExitStack() as files:
            for sink in sinks:
                files.callback(sink.end_video)
            video = files.enter_context(open_video(path))
            # Ctrl-C ends the main thread, not the one that writes: all files have the same frames.
            writing = files.enter_context(ThreadPoolExecutor(1))
            source = Source(path, name, video.fps / options.every)
            frames = None if video.count is None else -(-video.count // options.every)
            frames = min(frames or options.limit, options.limit) if options.limit else frames

            def deliver(result: Result) -> None:
                for sink in sinks:
                    sink.frame(source, result)

            results = self.detector.stream(video, options.T, options.steps, **how)
            for number, result in enumerate(islice(results, options.limit), 1):
                progress("frames", number, frames, result.counts())
                writing.submit(deliver, result).result()

    def _name(self, path: str) -> str:
        """A name for the files of a source, unique in the run: a, then a-2 of another folder."""
        stem = file_name(f"webcam{path}" if is_webcam(path) else Path(path).stem)
        numbered = (f"{stem}-{number}" for number in count(2))
        name = stem
        while name in self._names:
            name = next(numbered)
        self._names.add(name)
        return name


def sinks_of(run: DetectRun, folder: Path) -> list[Sink]:
    """The sinks that write what the options of the run ask for, apart from a page.

    Raises:
        UserError: The network has no layer of a name that --overlay gives.
    """
    options = run.options
    sinks: list[Sink] = [Pictures(folder, options.ann)]
    if options.save_txt or options.save_conf:
        sinks.append(Labels(folder, options.save_conf))
    if options.save_json:
        sinks.append(Json(folder, options.steps))
    if options.track:
        sinks.append(MotFiles(folder, every_class=bool(options.classes)))
    sinks.append(Console(run, folder))
    if options.overlay is not None:
        layers = [node.name for node in run.detector.converted.graph.activations]
        chosen = tuple(chosen_layers(options.overlay, layers)) if options.overlay else ()
        sinks.append(Overlays(folder, options.figures, chosen))
    if options.timeline:
        sinks.append(Timelines(folder, options.figures))
    return sinks


@dataclass
class VideoSink(Sink):
    """Writes a video, which begins with its first frame."""

    folder: Path
    _writer: VideoWriter | None = field(default=None, init=False)

    def write(self, name: str, fps: float, picture: np.ndarray) -> None:
        """Append a frame to the video of this name."""
        if self._writer is None:
            self._writer = VideoWriter(self.folder / f"{name}.mp4", fps)
        self._writer.write(picture)

    def end_video(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


@dataclass
class Pictures(VideoSink):
    """IMAGE.jpg and VIDEO.mp4 with boxes; with the ANN's on the left if `ann` says so."""

    ann: bool

    def annotated(self, result: Result) -> np.ndarray:
        """The picture with its boxes."""
        picture = result.plot()
        if not self.ann:
            return picture
        title = f"{result.method}, T={result.T}: {result.counts()}"
        left = titled(result.ann.plot(), f"ANN: {result.ann.counts()}")
        gap = np.full((len(left), 8, 3), 255, np.uint8)
        return np.concatenate([left, gap, titled(picture, title)], axis=1)

    def image(self, source: Source, result: Result) -> None:
        picture = Image.fromarray(self.annotated(result))
        suffix = "jpg" if max(picture.size) <= JPEG_SIDE else "png"
        with atomic_write(self.folder / f"{source.name}.{suffix}") as temporary:
            picture.save(temporary, quality=95)

    def frame(self, source: Source, result: Result) -> None:
        self.write(source.name, source.fps, self.annotated(result))


@dataclass
class Overlays(VideoSink):
    """IMAGE-overlay.SUFFIX, or VIDEO-overlay.mp4, whose scale is that of the first frame: it sends
    everything, and the later ones what changes.
    """

    suffix: str
    layers: tuple[str, ...]
    _tops: dict[str, float] = field(default_factory=dict)

    def image(self, source: Source, result: Result) -> None:
        path = self.folder / f"{source.name}-overlay.{self.suffix}"
        save_figure(result.overlay(self.layers), path)

    def frame(self, source: Source, result: Result) -> None:
        if self._writer is None:
            rates = result.last.rates
            self._tops = {layer: float(rate.max()) for layer, rate in rates.items()}
        picture = pixels(result.overlay(self.layers, self._tops))
        self.write(f"{source.name}-overlay", source.fps, picture)


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


@dataclass
class Labels(Sink):
    """labels/IMAGE.txt or labels/VIDEO/FRAME.txt, see Result.save_txt."""

    folder: Path
    confidence: bool

    def image(self, source: Source, result: Result) -> None:
        name = source.name
        if result.frame is not None:
            name += f"/{result.frame:06d}"
        result.save_txt(self.folder / f"labels/{name}.txt", self.confidence)


@dataclass
class Json(Sink):
    """detections.json: a list with an entry per image and frame."""

    folder: Path
    steps: tuple[int, ...]
    _entries: list[dict[str, Any]] = field(default_factory=list)

    def image(self, source: Source, result: Result) -> None:
        self._entries.append({**result.to_dict(self.steps), "image": source.label(result)})

    def close(self) -> None:
        if self._entries:
            write_json(self.folder / "detections.json", self._entries, 1)


@dataclass
class MotFiles(Sink):
    """VIDEO-mot.txt, tracks as MOTChallenge has them: of people only, unless `every_class` or the
    network knows none.
    """

    folder: Path
    every_class: bool
    _lines: list[str] = field(default_factory=list)
    _name: str = ""

    def image(self, source: Source, result: Result) -> None:
        """Photographs have no tracks."""

    def frame(self, source: Source, result: Result) -> None:
        boxes, names = result.detections, result.names
        if not self.every_class and PERSON in names:
            boxes = boxes.take(boxes.class_id == names.index(PERSON))
        assert boxes.track_id is not None
        boxes = boxes.take(boxes.track_id != NO_TRACK)
        tracks = MotBoxes.of(boxes.xyxy, boxes.confidence, boxes.track_id)
        # Frames of MOTChallenge are numbered from 1.
        self._lines.append(mot_lines((result.frame or 0) + 1, tracks))
        self._name = source.name

    def end_video(self) -> None:
        if self._lines:
            with atomic_write(self.folder / f"{self._name}-mot.txt") as temporary:
                temporary.write_text("".join(self._lines))
        self._lines.clear()


class Console(Sink):
    """Lines of the terminal: some per image, one per video, with frames and boxes by class; at the
    end whether it is worth it. results.json has what that follows from.
    """

    def __init__(self, run: DetectRun, folder: Path):
        self.options, self._folder = run.options, folder
        converted = run.detector.converted
        self._keeps_frames = converted.recipe.keeps_frames
        # On another device the 8-bit ANN of a CPU is no comparison.
        self._eight_bits = EightBits(converted) if run.options.device == "cpu" else None
        self._photographs = Totals(self._eight_bits)
        self._facts: list[dict[str, Any]] = []
        self._start_video()

    def _start_video(self) -> None:
        self._video = Totals(self._eight_bits)
        self._last: tuple[Source, Result] | None = None
        self._seconds, self._cuts = 0.0, 0
        self._boxes: Counter[str] = Counter()
        self._tracks: set[tuple[int, str]] = set()

    def image(self, source: Source, result: Result) -> None:
        self._photographs.add(result, self.options.ann)
        write(result.summary(self.options.steps, source.label(result)))
        if self.options.ann:
            ann = result.ann
            write(
                f"  ANN: {listed(ann.detections, ann.names)}; {1e3 * ann.seconds:.0f} ms, PyTorch"
            )

    def frame(self, source: Source, result: Result) -> None:
        self._last, self._video.fps = (source, result), source.fps
        self._video.add(result, self.options.ann)
        self._seconds += result.seconds
        self._cuts += result.cut
        for box in result.entries():
            self._boxes[box["class"]] += 1
            if box.get("track_id") is not None:
                self._tracks.add((box["track_id"], box["class"]))

    def end_video(self) -> None:
        if self._last is not None:
            source, result = self._last
            facts = self._video.facts()
            write(f"{source.path}: {'; '.join(self._parts(result, facts))}")
            self._judge(facts, source.path, "frame")
        self._start_video()

    def close(self) -> None:
        if self._photographs.spent:
            self._judge(self._photographs.facts(), "photographs", "photograph")
        if self.options.ann and self._facts:
            write_json(self._folder / "results.json", self._facts, 1)

    def _judge(self, facts: dict[str, Any], source: str, picture: str) -> None:
        self._facts.append({"source": source, **facts})
        write("\n".join(f"  {line}" for line in lines(facts, picture)))
        if self.options.verbose:
            # The figures of a row on one line.
            write(yaml.safe_dump(finite(facts, 3), sort_keys=False, default_flow_style=None))

    def _parts(self, last: Result, facts: dict[str, Any]) -> list[str]:
        frames = facts["pictures"]
        parts = [f"{frames} frame{'s' * (frames > 1)} in {self._seconds:.3g} s"]
        first, later = facts["operations_per_mac"].values()
        if self._keeps_frames and frames > 1 and later > MOVING * first:
            parts.append("most of the picture changes: does the camera move?")
        parts += [f"scene cuts: {self._cuts}"] * (self._cuts > 0)
        parts.append(f"boxes: {by_class(self._boxes)}")
        if last.detections.track_id is not None:
            parts.append(f"tracks: {by_class(Counter(name for _, name in self._tracks))}")
        return parts


def by_class(counts: Counter[str]) -> str:
    """ "5 x bird, dog", the most frequent first."""
    return ", ".join(times(name, n) for name, n in counts.most_common()) or "none"
