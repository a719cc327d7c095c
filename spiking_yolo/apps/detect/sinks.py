"""What a detection writes: a sink per kind of file, and one for the terminal."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from spiking_yolo.apps.console import write
from spiking_yolo.apps.detect.run import DetectRun, Seen, Sink
from spiking_yolo.apps.page import PhotographsPage, VideoPage
from spiking_yolo.data.mot import MotBoxes, mot_lines
from spiking_yolo.data.video import VideoWriter
from spiking_yolo.decode.boxes import listed, times
from spiking_yolo.decode.tracking import NO_TRACK
from spiking_yolo.io.files import atomic_write
from spiking_yolo.io.json import write_json
from spiking_yolo.metrics.video import PERSON


def file_sinks(run: DetectRun, folder: Path) -> list[Sink]:
    """The sinks that write what the options of the run ask for."""
    options = run.options
    sinks: list[Sink] = [Pictures(folder), Video(folder)]
    if options.save_txt:
        sinks.append(Labels(folder, options.save_conf))
    if options.save_json:
        sinks.append(Json(folder, options.steps))
    if options.save_mot or options.track:
        sinks.append(MotFiles(folder, every_class=bool(options.classes)))
    if options.page and run.has_video:
        sinks.append(VideoPage(options.page, run))
    elif options.page:
        sinks.append(PhotographsPage(options.page, run))
    return sinks


@dataclass
class Pictures(Sink):
    """IMAGE.jpg with boxes."""

    folder: Path

    def image(self, seen: Seen) -> None:
        with atomic_write(self.folder / f"{seen.name}.jpg") as temporary:
            Image.fromarray(seen.annotated()).save(temporary, quality=95)


@dataclass
class Video(Sink):
    """VIDEO.mp4 with boxes."""

    folder: Path
    _writer: VideoWriter | None = None

    def frame(self, seen: Seen) -> None:
        if self._writer is None:
            self._writer = VideoWriter(self.folder / f"{seen.name}.mp4", seen.fps)
        self._writer.write(seen.annotated())

    def end_video(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


@dataclass
class Labels(Sink):
    """labels/IMAGE.txt or labels/VIDEO/FRAME.txt, a line per box: class, centre x, centre y, width,
    height as fractions of the image [, confidence].
    """

    folder: Path
    confidence: bool

    def image(self, seen: Seen) -> None:
        name = seen.name
        if seen.result.frame is not None:
            name += f"/{seen.result.frame:06d}"
        seen.result.save_txt(self.folder / f"labels/{name}.txt", self.confidence)

    frame = image


@dataclass
class Json(Sink):
    """detections.json: a list with an entry per image and frame."""

    folder: Path
    steps: tuple[int, ...]
    _entries: list[dict[str, Any]] = field(default_factory=list)

    def image(self, seen: Seen) -> None:
        self._entries.append({**seen.result.to_dict(self.steps), "image": seen.label})

    frame = image

    def close(self) -> None:
        if self._entries:
            write_json(self.folder / "detections.json", self._entries, 1)


@dataclass
class MotFiles(Sink):
    """VIDEO-mot.txt as MOTChallenge has it: people only, unless `every_class` or the network knows
    none. Where objects are tracked, only boxes in a track.
    """

    folder: Path
    every_class: bool
    _lines: list[str] = field(default_factory=list)
    _name: str = ""

    def frame(self, seen: Seen) -> None:
        boxes, names = seen.result.detections, seen.result.names
        if not self.every_class and PERSON in names:
            boxes = boxes.take(boxes.class_id == names.index(PERSON))
        ids: Tensor | int = NO_TRACK
        if boxes.track_id is not None:
            boxes = boxes.take(boxes.track_id != NO_TRACK)
            assert boxes.track_id is not None
            ids = boxes.track_id
        # Frames of MOTChallenge are numbered from 1.
        number = (seen.result.frame or 0) + 1
        self._lines.append(mot_lines(number, MotBoxes.of(boxes.xyxy, boxes.confidence, ids)))
        self._name = seen.name

    def end_video(self) -> None:
        if self._lines:
            with atomic_write(self.folder / f"{self._name}-mot.txt") as temporary:
                temporary.write_text("".join(self._lines))
        self._lines.clear()


class Console(Sink):
    """Lines of the terminal: some per image, one per video, with frames, their rate, operations
    against the ANN, and boxes by class.
    """

    def __init__(self, steps: tuple[int, ...]):
        self.steps = steps
        self.any_results = False
        self._start_video()

    def _start_video(self) -> None:
        self._last: Seen | None = None
        self._operations: list[float] = []
        self._seconds = 0.0
        self._cuts = 0
        self._boxes: Counter[str] = Counter()
        self._ann_boxes: Counter[str] = Counter()
        self._tracks: set[tuple[int, str]] = set()

    def image(self, seen: Seen) -> None:
        self.any_results = True
        result, ann = seen.result, seen.ann
        write(result.summary(self.steps, seen.label))
        if ann is not None:
            write(f"  ANN: {listed(ann.detections, ann.names)}; {1e3 * ann.seconds:.0f} ms")

    def frame(self, seen: Seen) -> None:
        self.any_results = True
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
            write(f"{self._last.source}: {'; '.join(self._parts(self._last))}")
        self._start_video()

    def _parts(self, last: Seen) -> list[str]:
        frames = len(self._operations)
        first, *later = self._operations
        mean = np.mean(later or first)
        parts = [
            f"{frames} frames, {frames / self._seconds:.3g} fps",
            f"{mean:.2g} operations per MAC of the ANN, first frame {first:.2g}",
            f"scene cuts: {self._cuts}",
            f"boxes: {by_class(self._boxes)}",
        ]
        if last.result.remark:
            parts.append(last.result.remark)
        if last.result.detections.track_id is not None:
            parts.append(f"tracks: {by_class(Counter(name for _, name in self._tracks))}")
        if last.ann is not None:
            parts.append(f"ANN: {by_class(self._ann_boxes)}")
        return parts


def by_class(counts: Counter[str]) -> str:
    """ "5 x bird, dog", the most frequent first."""
    return ", ".join(times(name, n) for name, n in counts.most_common()) or "none"
