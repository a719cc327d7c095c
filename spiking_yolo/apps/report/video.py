"""A video through the network that keeps its state, with all that a page shows of every frame."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from spiking_yolo.apps.detect import DetectOptions
from spiking_yolo.apps.detect_run import Sighting, Watcher
from spiking_yolo.apps.report import ReportOptions
from spiking_yolo.apps.report.page import rounded
from spiking_yolo.apps.report.photographs import (
    THUMBNAILS,
    box_rows,
    class_ids,
    jpeg,
    small_map,
    sprite,
    thumbnails,
)
from spiking_yolo.data.sources import taken
from spiking_yolo.metrics.energy import accounts
from spiking_yolo.settings import settings_of

HEAT_SIDE = 48  # cells on the longer side
# Characters of all thumbnails, so that the page stays below 5 MB.
FRAMES = 4_000_000


class Recorder(Watcher):
    """Keeps what the page shows of each frame. progress(frames so far, frames in all or None)."""

    def __init__(self, options: DetectOptions, progress: Callable[[int, int | None], Any]):
        self.options, self.progress = options, progress
        self.sightings: list[dict[str, Any]] = []
        self.thumbnails: list[bytes] = []
        self.heat: list[np.ndarray] = []

    def result(self, sighting: Sighting) -> None:
        result, ann, work, size, video = (
            sighting.result, sighting.ann, sighting.work, sighting.size, sighting.video,
        )  # fmt: skip
        assert ann is not None and work is not None and size is not None and video is not None
        self.height, self.width = result.image.shape[:2]
        self.names = result.names
        self.ann_energy = {a.key: a.ann(size) for a in accounts()}
        layers = [
            small_map(layer, result.placement, HEAT_SIDE)
            for layer in result.maps[result.T].values()
        ]
        self.heat.append(torch.stack(layers).sum(0).numpy())
        self.thumbnails.append(jpeg(result.image, *THUMBNAILS[0]))
        self.sightings.append(
            {
                "frame": result.frame,
                "time": result.time,
                "boxes": box_rows(result.detections),
                "ann": box_rows(ann.detections),
                "classes": class_ids([result.detections, ann.detections]),
                "operations": result.operations_per_mac,
                "spikes": result.spikes,
                "energy": {a.key: a.snn(work, size) for a in accounts()},
                "cut": result.cut,
                "fresh": result.fresh,
            }
        )
        self.progress(
            len(self.sightings), taken(video.count, self.options.every, self.options.max_frames)
        )

    def data(self) -> dict[str, Any]:
        """Of all frames: a list per quantity, and the classes that were seen."""
        columns: dict[str, Any] = {
            key: [one[key] for one in self.sightings] for key in self.sightings[0]
        }
        seen = sorted(set().union(*columns.pop("classes")))
        energy = {a.key: [one[a.key] for one in columns["energy"]] for a in accounts()}
        heat = np.log1p(np.stack(self.heat))
        top = float(heat.max()) or 1.0
        return {
            "width": self.width,
            "height": self.height,
            "images": thumbnails(self.thumbnails, FRAMES),
            **rounded({**columns, "energy": energy, "annEnergy": self.ann_energy}),
            "heat": {
                **sprite(np.rint(255 / top * heat).astype(np.uint8)),
                "peak": rounded(float(np.expm1(top))),
            },
            "classes": seen,
        }


def detect_options(options: ReportOptions) -> DetectOptions:
    """The same call as a detection that has what a page needs."""
    shared = {
        name: getattr(options, name)
        for name in settings_of(DetectOptions)
        if hasattr(options, name)
    }
    return DetectOptions(
        **{**shared, "steps": (), "T": options.T or 1, "overlay": True, "ann": True}
    )
