"""The page of a video: everything that it shows of each frame."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from spiking_yolo.apps.detect.run import DetectRun, Seen, Sink
from spiking_yolo.apps.page import facts, make_page, rounded, small_map, sprite
from spiking_yolo.draw.colours import hexadecimal, track_colour
from spiking_yolo.draw.page import THUMBNAIL, box_rows, class_ids, legend, picture_uri
from spiking_yolo.metrics.energy import every_cost_model
from spiking_yolo.observe import layer_operations

HEAT_SIDE = 48  # cells on the longer side


class VideoPage(Sink):
    """A page of the one video of a run: a list per quantity, with an entry per frame.

    Args:
        path: Path of the file.
        run: Whose network it is.
    """

    def __init__(self, path: Path, run: DetectRun):
        self.path = path
        self.run = run
        self.columns: dict[str, list[Any]] = {}
        self.energy: dict[str, list[float]] = {
            cost_model.key: [] for cost_model in every_cost_model()
        }
        self.ann_energy: dict[str, float] = {}
        self.classes: set[int] = set()
        self.images: list[str] = []
        self.heat: list[np.ndarray] = []
        # Id and class -> positions of the frames in which the track is seen.
        self.tracks: dict[tuple[int, str], list[int]] = {}
        self.layers: dict[str, list[float]] = {}

    def frame(self, seen: Seen) -> None:
        result, observation = seen.result, seen.observation
        converted, costs = self.run.detector.converted, self.run.costs
        row = {
            "frame": result.frame,
            "time": result.time,
            "boxes": box_rows(result.detections),
            "ann": box_rows(observation.ann_boxes),
            "operations": result.operations_per_mac,
            "spikes": result.spikes,
            "cut": result.cut,
            "fresh": result.fresh,
        }
        for key, value in row.items():
            self.columns.setdefault(key, []).append(value)
        for box in result.entries():
            if box.get("track_id") is not None:
                at = len(self.columns["frame"]) - 1
                self.tracks.setdefault((box["track_id"], box["class"]), []).append(at)
        by_layer = observation.last.operations_by_layer
        how = (converted.graph, costs.counting, observation.macs)
        for layer, operations in layer_operations(by_layer, *how).items():
            self.layers.setdefault(layer, []).append(operations)
        work, size = costs.work(observation, result.T), costs.size(observation)
        for cost_model in every_cost_model():
            self.energy[cost_model.key].append(cost_model.snn(work, size))
            self.ann_energy[cost_model.key] = cost_model.ann(size)
        self.classes |= class_ids([result.detections, observation.ann_boxes])
        self.images.append(picture_uri(result.image, THUMBNAIL))
        layers = []
        for layer in observation.last.maps.values():
            layers.append(small_map(layer, result.placement, HEAT_SIDE))
        self.heat.append(torch.stack(layers).sum(0).numpy())
        self._last = seen

    def end_video(self) -> None:
        if not self.columns:
            return
        result = self._last.result
        height, width = result.image.shape[:2]
        converted = self.run.detector.converted
        layers: list[dict[str, Any]] = []
        for layer, operations in self.layers.items():
            layers.append({"name": layer, "values": operations})
        numbers = {**self.columns, "energy": self.energy, "annEnergy": self.ann_energy}
        data = {
            "kind": "video",
            **facts(converted),
            "tracks": self._tracks(),
            "layers": rounded(layers),
            "width": width,
            "height": height,
            "images": self.images,
            **rounded(numbers),
            "heat": self._heat(),
            "T": result.T,
            "conf": self.run.options.conf,
            "classes": legend(self.classes, converted.spec.names),
        }
        name = Path(self._last.source).name
        title = f"{name} through {data['network']}, spiking, frame by frame"
        make_page(title, data).save(self.path)

    def _tracks(self) -> list[dict[str, Any]]:
        tracks: list[dict[str, Any]] = []
        for (track_id, name), frames in sorted(self.tracks.items()):
            colour = hexadecimal(track_colour(track_id))
            tracks.append({"name": f"{track_id} {name}", "colour": colour, "frames": frames})
        return tracks

    def _heat(self) -> dict[str, Any]:
        """Where events happen in each frame, on one logarithmic scale."""
        heat = np.log1p(np.stack(self.heat))
        top = float(heat.max()) or 1.0
        tiles = np.rint(255 / top * heat).astype(np.uint8)
        return {**sprite(tiles), "peak": rounded(float(np.expm1(top)))}
