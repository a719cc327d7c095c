"""A video as it was seen: the files of it, and what it cost."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from spiking_yolo.apps.detect import DetectOptions
from spiking_yolo.apps.detect_run import Sighting
from spiking_yolo.data.mot import MotBoxes, mot_lines
from spiking_yolo.data.sources import is_webcam
from spiking_yolo.data.video import VideoWriter
from spiking_yolo.draw.boxes import draw_detections, side_by_side
from spiking_yolo.io.files import GradualFile, atomic_write
from spiking_yolo.io.json import json_text
from spiking_yolo.io.names import file_name
from spiking_yolo.metrics.energy import TIMELINE, accounts
from spiking_yolo.metrics.video import PERSON
from spiking_yolo.result import Result


class Glimpse(NamedTuple):
    """Numbers of a frame. operations: per MAC of the ANN. energies: mJ, by the accounts of a
    timeline.
    """

    frame: int
    operations: float
    objects: int
    energies: tuple[float, ...]
    cut: bool


class Film:
    """NAME.mp4 with boxes; if asked for, NAME-events.mp4, NAME-mot.txt and NAME-timeline.png. Keeps
    boxes and numbers.

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
        # Of events at a place of the first frame.
        self._most: float | None = None
        self._boxes = VideoWriter(path(f"{name}.mp4"), fps)
        self._events = VideoWriter(path(f"{name}-events.mp4"), fps) if options.overlay else None

    def add(self, sighting: Sighting) -> None:
        """Append a frame to every file."""
        result, frame = sighting.result, sighting.frame
        assert frame is not None and sighting.work is not None and sighting.size is not None
        self._boxes.write(result.plot() if sighting.ann is None else compared(result, sighting.ann))
        if self._events is not None:
            self._events.write(self._heat(result))
        drawn = (
            [account for account in accounts() if account.key in TIMELINE]
            if self.options.timeline
            else []
        )
        energies = tuple(account.snn(sighting.work, sighting.size) for account in drawn)
        self._ann_energies = {account.name: account.ann(sighting.size) for account in drawn}
        self.glimpses.append(
            Glimpse(frame, result.operations_per_mac, len(result), energies, result.cut)
        )
        self.seconds += result.seconds
        self.counts.update(box.name for box in result)
        self.ann_counts.update(box.name for box in sighting.ann or ())
        if self.options.save_mot:
            self._people.write(
                mot_lines(frame + 1, tracked(result, whole=bool(self.options.classes)))
            )

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
        work = (
            f"{np.mean(later):.2g} operations per MAC of the ANN, first frame {first:.2g}"
            if later
            else ""
        )
        work = work or f"{first:.2g} operations per MAC of the ANN"
        cuts = sum(one.cut for one in self.glimpses)
        frames = f"{len(self.glimpses)} frame{'s' * (len(self.glimpses) > 1)}"
        parts = [f"{frames}, {len(self.glimpses) / self.seconds:.3g} fps", work]
        parts += [f"{cuts} scene cut{'s' * (cuts > 1)}"] if cuts else []
        parts.append(f"boxes: {_by_class(self.counts)}")
        return "; ".join(
            [*parts, *([f"ANN: {_by_class(self.ann_counts)}"] if self.options.ann else [])]
        )

    def _heat(self, result: Result) -> np.ndarray:
        """Where events happened in this frame: dark for none, bright for as many as at most in the
        first, by log.
        """
        from spiking_yolo.draw.overlay import blend

        heat = torch.log1p(places(result))
        self._most = self._most or max(float(heat.max()), 1e-3)
        title = (
            f"frame {result.frame}: {result.operations_per_mac:.2g} operations per MAC of the ANN"
        )
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
            also=self.options.figures,
        )


def places(result: Result) -> Tensor:
    """Spikes of all layers over the picture, float32 [H, W]: the sum of each layer's mean over its
    channels.
    """
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
    return (
        ", ".join(f"{n} x {name}" if n > 1 else name for name, n in counts.most_common()) or "none"
    )


_OVERLAY_SIDE = 1280  # pixels; a figure shows no more
_GIF_SIDE = 640


class Outputs:
    """Files of one run. The directory appears with the first file, so a failed call leaves nothing
    behind.
    """

    def __init__(self, directory: Path, options: DetectOptions):
        self.directory, self.options = directory, options
        self.used = False
        self._stems: dict[str, str] = {}  # name of the results -> source
        self._entries = GradualFile(directory / "detections.json", "\n]\n")
        self._name = ""  # of the source at hand
        self._film: Film | None = None

    def start(self) -> None:
        """What follows belongs to another source."""
        self.end()
        self._name = ""

    def end(self) -> Film | None:
        """Finish the files of a video. Returns it if there was one, with what it has counted."""
        film, self._film = self._film, None
        if film:
            film.close()
        return film

    def save(self, sighting: Sighting) -> None:
        """Everything that the options ask for, of one image or frame."""
        options, result = self.options, sighting.result
        self._name = self._name or self._stem(
            f"webcam{sighting.source}" if is_webcam(sighting.source) else sighting.source
        )
        name = self._name
        # Of a video in a folder of its own, beside v-000000.txt of an image v-000000.png.
        if options.save_txt:
            self.labels(name if sighting.frame is None else f"{name}/{sighting.frame:06d}", result)
        if options.save_json:
            entry = replace(result, path=sighting.label).to_dict(options.steps)
            self._entries.write(
                ("," if self._entries.begun else "[") + "\n" + json_text(entry, indent=1)
            )
            self.used = True
        if sighting.video:
            self._film = self._film or Film(
                self._name, self.path, options, sighting.video.fps / options.every
            )
            self._film.add(sighting)
            return
        self.picture(
            name, result.plot() if sighting.ann is None else compared(result, sighting.ann)
        )
        for t in options.steps:
            self.picture(
                f"{name}-steps/T{t}",
                draw_detections(
                    result.image, result.steps[t], result.names, f"T = {t}: {result.counts(t)}"
                ),
            )
        if options.overlay:
            self.overlays(name, result, sighting.layers, sighting.titles)
        if options.gif:
            self.animation(name, result)

    def close(self) -> None:
        """Finish the video, and write detections.json with one entry per image."""
        with ExitStack() as files:  # whatever happens to the video
            files.callback(self._entries.close)
            self.end()

    def _stem(self, path: str) -> str:
        """What its results are called: a for a.jpg, a-png for a.png beside it, a-2 for an a.jpg of
        another folder.
        """
        stem, suffix = file_name(Path(path).stem), file_name(Path(path).suffix[1:].lower())
        other = self._stems.get(stem)
        beside = other is not None and Path(other).parent == Path(path).parent and other != path
        names = itertools.chain(
            [stem], [f"{stem}-{suffix}"] * beside, (f"{stem}-{k}" for k in itertools.count(2))
        )
        name = next(name for name in names if name not in self._stems)
        self._stems[name] = path
        return name

    def path(self, name: str) -> Path:
        """Where a file goes that is about to be written."""
        self.used = True
        return self.directory / name

    def picture(self, name: str, pixels: np.ndarray) -> None:
        with atomic_write(self.path(f"{name}.jpg")) as temporary:
            Image.fromarray(pixels).save(temporary, quality=95)

    def labels(self, name: str, result: Result) -> None:
        """One line per box: class, centre x, centre y, width, height as fractions of the image [,
        confidence].
        """
        lines = []
        for class_id, box, confidence in zip(
            result.class_id.tolist(), result.xywhn.tolist(), result.confidence.tolist(), strict=True
        ):
            numbers = [*box, confidence] if self.options.save_conf else box
            lines.append(" ".join([str(class_id), *(f"{v:.6f}" for v in numbers)]) + "\n")
        with atomic_write(self.path(f"labels/{name}.txt")) as temporary:
            temporary.write_text("".join(lines))

    def overlays(
        self, name: str, result: Result, layers: Iterable[str], titles: Mapping[str, str]
    ) -> None:
        """Heat maps of the spike rate over the photograph: one per layer of `layers`, and a summary
        of all layers.

        titles: what to call each layer.
        """
        from spiking_yolo.draw.overlay import rate_overlay, summary_overlay

        result = result.shrunk(_OVERLAY_SIDE)
        rates = {layer: _rate(result, result.T, layer) for layer in result.maps[result.T]}
        for layer in layers:
            title = f"{titles[layer]}, T = {result.T}"
            path = self.path(f"{name}-rates/{layer}.png")
            rate_overlay(result.image, rates[layer], title, path, self.options.figures)
        summary_overlay(
            result.image,
            {titles[layer]: rate for layer, rate in rates.items()},
            self.path(f"{name}-rates/summary.png"),
            self.options.figures,
        )

    def animation(self, name: str, result: Result) -> None:
        """Boxes, and the mean rate of all layers, as they appear over the timesteps."""
        from spiking_yolo.draw.animate import save_gif, timeline_frames

        result = result.shrunk(_GIF_SIDE)
        rates = {}
        for t, layers in result.maps.items():
            maps = [_rate(result, t, layer) for layer in layers]
            rates[t] = sum(maps[1:], maps[0]) / len(maps)
        save_gif(
            timeline_frames(result.image, result.steps, result.names, rates),
            self.path(f"{name}.gif"),
            2,
        )


def _rate(result: Result, t: int, layer: str) -> Tensor:
    """Spikes per neuron and timestep over the photograph, float32 [H, W]."""
    from spiking_yolo.draw.overlay import map_to_image

    return map_to_image(result.maps[t][layer] / t, result.placement)
