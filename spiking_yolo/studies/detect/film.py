"""A video as it was seen: the files of it, and what it cost."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.datasets.mot_file import MotBoxes, mot_lines
from spiking_yolo.draw.boxes import side_by_side
from spiking_yolo.io.atomic import GradualFile
from spiking_yolo.io.video import VideoWriter
from spiking_yolo.metrics.energy import TIMELINE, accounts
from spiking_yolo.metrics.video import PERSON
from spiking_yolo.result import Result
from spiking_yolo.studies.detect.options import DetectOptions
from spiking_yolo.studies.detect.run import Sighting


class Glimpse(NamedTuple):
    """Numbers of a frame. operations: per MAC of the ANN. energies: mJ, by the accounts of a timeline."""

    frame: int
    operations: float
    objects: int
    energies: tuple[float, ...]
    cut: bool


class Film:
    """NAME.mp4 with boxes; if asked for, NAME-events.mp4, NAME-mot.txt and NAME-timeline.png. Keeps boxes and numbers.

    path: of a file by its name, which is about to be written.
    """

    def __init__(self, name: str, path: Callable[[str], Path], options: DetectOptions, fps: float):
        self.name, self.path, self.options = name, path, options
        self.glimpses: list[Glimpse] = []
        self.seconds = 0.0
        self.counts: Counter[str] = Counter()
        self.ann_counts: Counter[str] = Counter()
        self._ann_energies: dict[str, float] = {}  # mJ of the ANN, by account
        self._people = GradualFile(path(f"{name}-mot.txt"))
        self._most: float | None = None  # of events at a place of the first frame
        self._boxes = VideoWriter(path(f"{name}.mp4"), fps)
        self._events = VideoWriter(path(f"{name}-events.mp4"), fps) if options.overlay else None

    def add(self, sighting: Sighting) -> None:
        """Append a frame to every file."""
        result, frame = sighting.result, sighting.frame
        assert frame is not None and sighting.work is not None and sighting.size is not None
        self._boxes.write(result.plot() if sighting.ann is None else compared(result, sighting.ann))
        if self._events is not None:
            self._events.write(self._heat(result))
        drawn = [account for account in accounts() if account.key in TIMELINE] if self.options.timeline else []
        energies = tuple(account.snn(sighting.work, sighting.size) for account in drawn)
        self._ann_energies = {account.name: account.ann(sighting.size) for account in drawn}
        self.glimpses.append(Glimpse(frame, result.operations_per_mac, len(result), energies, result.cut))
        self.seconds += result.seconds
        self.counts.update(box.name for box in result)
        self.ann_counts.update(box.name for box in sighting.ann or ())
        if self.options.save_mot:
            self._people.write(mot_lines(frame + 1, tracked(result, whole=bool(self.options.classes))))

    def close(self) -> None:
        """Finish all files: also when an error or Ctrl-C came in between."""
        with ExitStack() as files:  # each is finished whatever happens to another
            files.callback(self._boxes.close)
            if self._events is not None:
                files.callback(self._events.close)
            files.callback(self._people.close)
            if self.options.timeline and self.glimpses:
                files.callback(self._timeline)

    def summary(self) -> str:
        """One line: frames, frames per second, operations against the ANN, boxes by class."""
        first, *later = [one.operations for one in self.glimpses]
        work = f"{np.mean(later):.2g} operations per MAC of the ANN, first frame {first:.2g}" if later else ""
        work = work or f"{first:.2g} operations per MAC of the ANN"
        cuts = sum(one.cut for one in self.glimpses)
        frames = f"{len(self.glimpses)} frame{'s' * (len(self.glimpses) > 1)}"
        parts = [f"{frames}, {len(self.glimpses) / self.seconds:.3g} fps", work]
        parts += [f"{cuts} scene cut{'s' * (cuts > 1)}"] if cuts else []
        parts.append(f"boxes: {_by_class(self.counts)}")
        return "; ".join([*parts, *([f"ANN: {_by_class(self.ann_counts)}"] if self.options.ann else [])])

    def _heat(self, result: Result) -> np.ndarray:
        """Where events happened in this frame: dark for none, bright for as many as at most in the first, by log."""
        from spiking_yolo.draw.overlay import blend

        heat = torch.log1p(places(result))
        self._most = self._most or max(float(heat.max()), 1e-3)
        title = f"frame {result.frame}: {result.operations_per_mac:.2g} operations per MAC of the ANN"
        return replace(result, image=blend(result.image, heat, 0.0, self._most)).plot(title)

    def _timeline(self) -> None:
        from spiking_yolo.draw.timeline import timeline

        shown: Sequence[Glimpse] = self.glimpses
        timeline(
            self.path(f"{self.name}-timeline.png"),
            [one.frame for one in shown],
            [one.operations for one in shown],
            [one.objects for one in shown],
            {name: [one.energies[i] for one in shown] for i, name in enumerate(self._ann_energies)},
            self._ann_energies,
            [one.frame for one in shown if one.cut],
        )


def places(result: Result) -> Tensor:
    """Spikes of all layers over the picture, float32 [H, W]: the sum of each layer's mean over its channels."""
    from spiking_yolo.draw.overlay import map_to_image

    layers = [map_to_image(layer, result.placement) for layer in result.maps[result.T].values()]
    return torch.stack(layers).sum(0)


def tracked(result: Result, whole: bool) -> MotBoxes:
    """The people, or all boxes: if whole, or where the network knows no people."""
    boxes = result.detections
    if not whole and PERSON in result.names:
        boxes = boxes.take(boxes.class_id == result.names.index(PERSON))
    return MotBoxes.of(boxes.xyxy, boxes.confidence)


def compared(result: Result, ann: Result) -> np.ndarray:
    """ANN and SNN side by side."""
    titles = (f"ANN: {ann.counts()}", f"{result.method}, T = {result.T}: {result.counts()}")
    return side_by_side((ann.plot(), result.plot()), titles)


def _by_class(counts: Counter[str]) -> str:
    return ", ".join(f"{n} x {name}" if n > 1 else name for name, n in counts.most_common()) or "none"
