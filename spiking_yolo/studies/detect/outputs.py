"""The files of a detection: pictures, labels, json, heat maps and animations."""

import itertools
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from spiking_yolo.draw.boxes import draw_detections
from spiking_yolo.io.atomic import GradualFile, atomic_write
from spiking_yolo.io.json_text import json_text
from spiking_yolo.io.names import file_name
from spiking_yolo.io.sources import is_webcam
from spiking_yolo.result import Result
from spiking_yolo.studies.detect.film import Film, compared
from spiking_yolo.studies.detect.options import DetectOptions
from spiking_yolo.studies.detect.run import Sighting

_OVERLAY_SIDE = 1280  # pixels; a figure shows no more
_GIF_SIDE = 640


class Outputs:
    """Files of one run. The directory appears with the first file, so a failed call leaves nothing behind."""

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
        if options.save_txt:  # of a video in a folder of its own, beside v-000000.txt of an image v-000000.png
            self.labels(name if sighting.frame is None else f"{name}/{sighting.frame:06d}", result)
        if options.save_json:
            entry = replace(result, path=sighting.label).to_dict(options.steps)
            self._entries.write(("," if self._entries.begun else "[") + "\n" + json_text(entry, indent=1))
            self.used = True
        if sighting.video:
            self._film = self._film or Film(self._name, self.path, options, sighting.video.fps / options.every)
            self._film.add(sighting)
            return
        self.picture(name, result.plot() if sighting.ann is None else compared(result, sighting.ann))
        for t in options.steps:
            self.picture(
                f"{name}-steps/T{t}",
                draw_detections(result.image, result.steps[t], result.names, f"T = {t}: {result.counts(t)}"),
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
        """What its results are called: a for a.jpg, a-png for a.png beside it, a-2 for an a.jpg of another folder."""
        stem, suffix = file_name(Path(path).stem), file_name(Path(path).suffix[1:].lower())
        other = self._stems.get(stem)
        beside = other is not None and Path(other).parent == Path(path).parent and other != path
        names = itertools.chain([stem], [f"{stem}-{suffix}"] * beside, (f"{stem}-{k}" for k in itertools.count(2)))
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
        """One line per box: class, centre x, centre y, width, height as fractions of the image [, confidence]."""
        lines = []
        for class_id, box, confidence in zip(
            result.class_id.tolist(), result.xywhn.tolist(), result.confidence.tolist(), strict=True
        ):
            numbers = [*box, confidence] if self.options.save_conf else box
            lines.append(" ".join([str(class_id), *(f"{v:.6f}" for v in numbers)]) + "\n")
        with atomic_write(self.path(f"labels/{name}.txt")) as temporary:
            temporary.write_text("".join(lines))

    def overlays(self, name: str, result: Result, layers: Iterable[str], titles: Mapping[str, str]) -> None:
        """Heat maps of the spike rate over the photograph: one per layer of `layers`, and a summary of all layers.

        titles: what to call each layer.
        """
        from spiking_yolo.draw.overlay import rate_overlay, summary_overlay

        result = result.shrunk(_OVERLAY_SIDE)
        rates = {layer: _rate(result, result.T, layer) for layer in result.maps[result.T]}
        for layer in layers:
            title = f"{titles[layer]}, T = {result.T}"
            rate_overlay(result.image, rates[layer], title, self.path(f"{name}-rates/{layer}.png"))
        summary_overlay(
            result.image, {titles[layer]: rate for layer, rate in rates.items()}, self.path(f"{name}-rates/summary.png")
        )

    def animation(self, name: str, result: Result) -> None:
        """Boxes, and the mean rate of all layers, as they appear over the timesteps."""
        from spiking_yolo.draw.animate import save_gif, timeline_frames

        result = result.shrunk(_GIF_SIDE)
        rates = {}
        for t, layers in result.maps.items():
            maps = [_rate(result, t, layer) for layer in layers]
            rates[t] = sum(maps[1:], maps[0]) / len(maps)
        save_gif(timeline_frames(result.image, result.steps, result.names, rates), self.path(f"{name}.gif"), 2)


def _rate(result: Result, t: int, layer: str) -> Tensor:
    """Spikes per neuron and timestep over the photograph, float32 [H, W]."""
    from spiking_yolo.draw.overlay import map_to_image

    return map_to_image(result.maps[t][layer] / t, result.placement)
