"""What a detection writes: a sink per kind of file, and one for the terminal."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from spiking_yolo.apps.detect.run import DetectRun, FrameResult, ImageResult, Sink
from spiking_yolo.apps.page.photographs import PhotographsPage
from spiking_yolo.apps.page.video import VideoPage
from spiking_yolo.convert.methods import patience
from spiking_yolo.data.mot import MotBoxes, mot_lines
from spiking_yolo.data.video import VideoWriter
from spiking_yolo.decode.boxes import listed, times, unmatched
from spiking_yolo.decode.tracking import NO_TRACK
from spiking_yolo.draw import FigureFormat
from spiking_yolo.draw.boxes import draw_detections
from spiking_yolo.draw.overlay import RateMap, blend, map_to_image, save_rates
from spiking_yolo.draw.timeline import Timeline
from spiking_yolo.io.files import GradualFile, atomic_write
from spiking_yolo.io.json import json_text
from spiking_yolo.metrics.video import PERSON
from spiking_yolo.result import Result

# Longer side in pixels; a figure shows no more.
OVERLAY_SIDE = 1280


def file_sinks(run: DetectRun, folder: Path) -> list[Sink]:
    """The sinks that write what the options of the run ask for."""
    options = run.options
    sinks: list[Sink] = [Pictures(folder, options.steps), Video(folder)]
    if options.save_txt:
        sinks.append(Labels(folder, options.save_conf))
    if options.save_json:
        sinks.append(Json(folder, options.steps))
    if options.save_mot or options.track:
        sinks.append(MotFiles(folder, every_class=bool(options.classes)))
    if options.overlay:
        titles = run.detector.layer_titles()
        chosen = {layer: titles[layer] for layer in run.overlay_layers}
        sinks += [Overlays(folder, chosen, options.figures), EventVideo(folder)]
    if options.timeline:
        sinks.append(Timelines(folder, options.figures))
    if options.page:
        page = PhotographsPage(options.page, run)
        if run.has_video:
            page = VideoPage(options.page, run)
        sinks.append(page)
    return sinks


@dataclass
class Pictures(Sink):
    """IMAGE.jpg with boxes, and IMAGE-steps/T.jpg for the chosen steps."""

    folder: Path
    steps: tuple[int, ...]

    def image(self, seen: ImageResult) -> None:
        result = seen.result
        self._write(seen.name, seen.annotated())
        for t in self.steps:
            title = f"T = {t}: {result.counts(t)}"
            at = replace(result, detections=result.steps[t])
            self._write(f"{seen.name}-steps/T{t}", at.plot(title, **seen.style))

    def _write(self, name: str, pixels: np.ndarray) -> None:
        with atomic_write(self.folder / f"{name}.jpg") as temporary:
            Image.fromarray(pixels).save(temporary, quality=95)


@dataclass
class Labels(Sink):
    """labels/IMAGE.txt or labels/VIDEO/FRAME.txt, a line per box: class, centre x, centre y, width,
    height as fractions of the image [, confidence].
    """

    folder: Path
    confidence: bool

    def image(self, seen: ImageResult) -> None:
        self._write(seen.name, seen.result)

    def frame(self, seen: FrameResult) -> None:
        # A folder per video: v-000000.txt may be that of an image v-000000.png.
        self._write(f"{seen.name}/{seen.frame:06d}", seen.result)

    def _write(self, name: str, result: Result) -> None:
        result.save_txt(self.folder / f"labels/{name}.txt", self.confidence)


class Json(Sink):
    """detections.json: a list with an entry per image and frame; memory does not grow with it."""

    def __init__(self, folder: Path, steps: tuple[int, ...]):
        self.steps = steps
        self._file = GradualFile(folder / "detections.json", "\n]\n")

    def image(self, seen: ImageResult) -> None:
        entry = {**seen.result.to_dict(self.steps), "image": seen.label}
        start = "["
        if self._file.begun:
            start = ","
        self._file.write(f"{start}\n{json_text(entry, indent=1)}")

    frame = image

    def close(self) -> None:
        self._file.close()


class MotFiles(Sink):
    """VIDEO-mot.txt as MOTChallenge has it: people only, unless `every_class` or the network knows
    none. Where objects are tracked, only boxes in a track.
    """

    def __init__(self, folder: Path, every_class: bool):
        self.folder = folder
        self.every_class = every_class
        self._file: GradualFile | None = None

    def video(self) -> Sink:
        return MotFiles(self.folder, self.every_class)

    def frame(self, seen: FrameResult) -> None:
        boxes, names = seen.result.detections, seen.result.names
        if not self.every_class and PERSON in names:
            boxes = boxes.take(boxes.class_id == names.index(PERSON))
        ids: Tensor | int = NO_TRACK
        if boxes.track_id is not None:
            boxes = boxes.take(boxes.track_id != NO_TRACK)
            assert boxes.track_id is not None
            ids = boxes.track_id
        if self._file is None:
            self._file = GradualFile(self.folder / f"{seen.name}-mot.txt")
        # Frames of MOTChallenge are numbered from 1.
        of_frame = MotBoxes.of(boxes.xyxy, boxes.confidence, ids)
        self._file.write(mot_lines(seen.frame + 1, of_frame))

    def end_video(self) -> None:
        if self._file is not None:
            self._file.close()


class Video(Sink):
    """VIDEO.mp4 with boxes."""

    suffix = ""

    def __init__(self, folder: Path):
        self.folder = folder
        self._writer: VideoWriter | None = None

    def video(self) -> Sink:
        return type(self)(self.folder)

    def frame(self, seen: FrameResult) -> None:
        if self._writer is None:
            self._writer = VideoWriter(self.folder / f"{seen.name}{self.suffix}.mp4", seen.fps)
        self._writer.write(self.picture(seen))

    def picture(self, seen: FrameResult) -> np.ndarray:
        return seen.annotated()

    def end_video(self) -> None:
        if self._writer is not None:
            self._writer.close()


class EventVideo(Video):
    """VIDEO-events.mp4: where events happened in each frame, dark for none, bright for the most in
    the first frame, on a logarithmic scale.
    """

    suffix = "-events"
    _brightest: float | None = None

    def picture(self, seen: FrameResult) -> np.ndarray:
        result = seen.result
        # Spikes of all layers, the sum of their means over channels.
        layers = [map_to_image(one, result.placement) for one in result.maps[result.T].values()]
        heat = torch.log1p(torch.stack(layers).sum(0))
        if self._brightest is None:
            self._brightest = max(float(heat.max()), 1e-3)
        title = f"frame {seen.frame}: {result.operations_per_mac:.2g} operations per MAC of the ANN"
        picture = blend(result.image, heat, 0.0, self._brightest)
        return draw_detections(picture, result.detections, result.names, title)


@dataclass
class Overlays(Sink):
    """IMAGE-rates.png: heat maps of the spike rates of some layers, and of them together.

    titles: Titles of the layers that are shown, by name.
    """

    folder: Path
    titles: dict[str, str]
    figures: FigureFormat

    def image(self, seen: ImageResult) -> None:
        result = seen.result.shrunk(OVERLAY_SIDE)
        rates = rates_over_image(result, result.T)
        by_title = {title: rates[layer] for layer, title in self.titles.items()}
        save_rates(self.folder / f"{seen.name}-rates.png", result.image, by_title, self.figures)


class Timelines(Sink):
    """VIDEO-timeline.png: operations of each frame, also by layer, and objects."""

    def __init__(self, folder: Path, figures: FigureFormat):
        self.folder = folder
        self.figures: FigureFormat = figures
        self._name = ""
        self._timeline = Timeline()

    def video(self) -> Sink:
        return Timelines(self.folder, self.figures)

    def frame(self, seen: FrameResult) -> None:
        self._name = seen.name
        shown, result = self._timeline, seen.result
        shown.frames.append(seen.frame)
        shown.operations.append(result.operations_per_mac)
        shown.objects.append(len(result))
        if result.cut:
            shown.cuts.append(seen.frame)
        if seen.ann is not None:
            missed, _ = unmatched(seen.ann.detections, result.detections)
            shown.ann_objects.append(len(seen.ann))
            shown.missed.append(len(missed))
        for layer, operations in seen.layers.items():
            shown.layers.setdefault(layer, []).append(operations)

    def end_video(self) -> None:
        if self._name:
            self._timeline.save(self.folder / f"{self._name}-timeline.png", self.figures)


class Console(Sink):
    """Lines of the terminal: some per image, one per video.

    verbose: a line for every box of an image too.
    """

    def __init__(self, steps: tuple[int, ...], write: Callable[[str], None], verbose: bool = False):
        self.steps = steps
        self.write = write
        self.verbose = verbose
        self.any_results = False

    def video(self) -> Sink:
        return VideoLine(self)

    def image(self, seen: ImageResult) -> None:
        self.any_results = True
        result, ann = seen.result, seen.ann
        self.write(result.summary(self.steps, seen.label))
        if self.verbose:
            for box in result.entries():
                x1, y1, x2, y2 = (round(side) for side in box["box_xyxy"])
                self.write(f"  {box['class']} {box['confidence']:.2f}: {x1},{y1} to {x2},{y2}")
        if not len(result) and (hint := patience(result.method, result.T)):
            self.write(f"  {hint}")
        if ann is not None:
            self.write(f"  ANN: {listed(ann.detections, ann.names)}; {1e3 * ann.seconds:.0f} ms")


class VideoLine(Sink):
    """One line about a video: frames, their rate, operations against the ANN, boxes by class."""

    def __init__(self, console: Console):
        self._console = console
        self._last: FrameResult | None = None
        self._operations: list[float] = []
        self._seconds = 0.0
        self._cuts = 0
        self._boxes: Counter[str] = Counter()
        self._ann_boxes: Counter[str] = Counter()
        self._tracks: set[tuple[int, str]] = set()

    def frame(self, seen: FrameResult) -> None:
        self._console.any_results = True
        self._last = seen
        self._operations.append(seen.result.operations_per_mac)
        self._seconds += seen.result.seconds
        self._cuts += seen.result.cut
        for box in seen.result.entries():
            self._boxes[box["class"]] += 1
            if box.get("track_id") is not None:
                self._tracks.add((box["track_id"], box["class"]))
        if seen.ann is not None:
            self._ann_boxes.update(box["class"] for box in seen.ann.entries())

    def end_video(self) -> None:
        if self._last is not None:
            self._console.write(f"{self._last.source}: {'; '.join(self._parts(self._last))}")

    def _parts(self, last: FrameResult) -> list[str]:
        first, *later = self._operations
        frames = len(self._operations)
        parts = [f"{frames} frame{'s' * (frames > 1)}, {frames / self._seconds:.3g} fps"]
        operations = f"{first:.2g} operations per MAC of the ANN"
        if later:
            mean = np.mean(later)
            operations = f"{mean:.2g} operations per MAC of the ANN, first frame {first:.2g}"
        parts.append(operations)
        if last.result.remark:
            parts.append(last.result.remark)
        if self._cuts:
            parts.append(f"{self._cuts} scene cut{'s' * (self._cuts > 1)}")
        parts.append(f"boxes: {by_class(self._boxes)}")
        if last.result.detections.track_id is not None:
            parts.append(f"tracks: {by_class(Counter(name for _, name in self._tracks))}")
        if last.ann is not None:
            parts.append(f"ANN: {by_class(self._ann_boxes)}")
        return parts


def by_class(counts: Counter[str]) -> str:
    """ "5 x bird, dog", the most frequent first."""
    return ", ".join(times(name, n) for name, n in counts.most_common()) or "none"


def rates_over_image(result: Result, t: int) -> dict[str, RateMap]:
    """By layer, over the image after t steps."""
    rates: dict[str, RateMap] = {}
    for layer, spikes in result.maps[t].items():
        rate = spikes / result.seen.steps[t].active_steps
        values = map_to_image(rate, result.placement)
        rates[layer] = RateMap(values, float(rate.mean()), result.seen.neurons_by_layer[layer])
    return rates
