"""What detect.py leaves in its run directory: pictures, labels, json, heat maps and animations."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from spiking_yolo.draw.boxes import draw_detections, side_by_side
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write
from spiking_yolo.result import Result

_OVERLAY_SIDE = 1280  # pixels; a figure shows no more
_GIF_SIDE = 640


class Outputs:
    """Files of one run. The directory appears with the first file, so a failed call leaves nothing behind."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.used = False
        self._stems: set[str] = set()
        self._entries: list[dict[str, Any]] = []

    def stem(self, path: str) -> str:
        """A file name for this image's results, distinct for equal names from different folders."""
        stem = name = Path(path).stem
        numbers = itertools.count(2)
        while name in self._stems:
            name = f"{stem}-{next(numbers)}"
        self._stems.add(name)
        return name

    def path(self, name: str) -> Path:
        """Where a file goes that is about to be written."""
        self.used = True
        return self.directory / name

    def picture(self, name: str, pixels: np.ndarray) -> None:
        with atomic_write(self.path(f"{name}.jpg")) as temporary:
            Image.fromarray(pixels).save(temporary, quality=95)

    def labels(self, name: str, result: Result, with_confidence: bool) -> None:
        """One line per box: class, centre x, centre y, width, height as fractions of the image [, confidence]."""
        lines = []
        for class_id, box, confidence in zip(
            result.class_id.tolist(), result.xywhn.tolist(), result.confidence.tolist(), strict=True
        ):
            numbers = [*box, confidence] if with_confidence else box
            lines.append(" ".join([str(class_id), *(f"{v:.6f}" for v in numbers)]) + "\n")
        with atomic_write(self.path(f"labels/{name}.txt")) as temporary:
            temporary.write_text("".join(lines))

    def add_json(self, image: str, result: Result, steps: Iterable[int]) -> None:
        self._entries.append(replace(result, path=image).to_dict(steps))

    def write_json(self) -> None:
        """detections.json: one entry per image."""
        if self._entries:
            with atomic_write(self.path("detections.json")) as temporary:
                temporary.write_text(json.dumps(self._entries, indent=1))

    def overlays(self, name: str, result: Result, layers: list[str]) -> None:
        """Heat maps of the spike rate over the photograph: one per layer of `layers`, and a summary of all layers."""
        from spiking_yolo.draw.overlay import rate_overlay, summary_overlay

        result = result.shrunk(_OVERLAY_SIDE)
        rates = {layer: _rate(result, result.T, layer) for layer in result.maps[result.T]}
        for layer in layers:
            title = f"{layer}, T = {result.T}"
            rate_overlay(result.image, rates[layer], title, self.path(f"{name}-rates/{layer}.png"))
        summary_overlay(result.image, rates, self.path(f"{name}-rates/summary.png"))

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


def compared(result: Result, ann: Result) -> np.ndarray:
    """ANN and SNN side by side."""
    titles = (f"ANN: {ann.counts()}", f"SNN, T = {result.T}, {result.method}")
    return side_by_side((ann.plot(), result.plot()), titles)


def at_step(result: Result, t: int) -> np.ndarray:
    """The picture with what was found after t timesteps."""
    return draw_detections(result.image, result.steps[t], result.names, f"T = {t}")


def choose_layers(wanted: str, layers: list[str]) -> list[str]:
    """Layers for the heat maps: "auto" is the first, the middle and the last; "all"; or names with commas."""
    if wanted == "auto":
        return [layers[0], layers[len(layers) // 2], layers[-1]]
    chosen = layers if wanted == "all" else wanted.split(",")
    if unknown := [name for name in chosen if name not in layers]:
        raise UserError(f"--overlay: no layer {unknown[0]!r}; the layers are {', '.join(layers)}")
    return chosen
