"""The page of a video: everything that it shows of each frame."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spiking_yolo.apps.detect import DetectOptions
from spiking_yolo.apps.detect.run import DetectRun, FrameResult
from spiking_yolo.apps.report import ReportOptions
from spiking_yolo.apps.report.page import (
    THUMBNAILS,
    facts,
    report_page,
    rounded,
    small_map,
    sprite,
    thumbnails,
)
from spiking_yolo.draw.colours import hexadecimal, track_colour
from spiking_yolo.draw.page import Page, box_rows, class_ids, jpeg, legend
from spiking_yolo.metrics.energy import every_account
from spiking_yolo.options import Progress, silent

HEAT_SIDE = 48  # cells on the longer side
# Characters of all thumbnails, so that the page stays below 5 MB.
FRAMES = 4_000_000


def video_page(options: ReportOptions, source: str, progress: Progress = silent) -> Page:
    """The page of one video.

    Args:
        options: Of the report.
        source: The video.
        progress: Called with (what, done, of how many, remark) after each frame.

    Raises:
        UserError: The video or the network cannot be read.
    """
    run = DetectRun(detect_options(options))
    columns = FrameColumns()
    for seen in run.frames(source, progress):
        columns.add(seen)
    converted = run.detector.converted
    data = {
        "kind": "video",
        **facts(converted),
        **columns.data(),
        "T": options.T or 1,
        "conf": options.conf,
        "classes": legend(columns.classes, converted.spec.names),
    }
    return report_page(
        f"{Path(source).name} through {data['network']}, spiking, frame by frame", data
    )


class FrameColumns:
    """The frames of a video as a page has them: a list per quantity."""

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = {}
        self.energy: dict[str, list[float]] = {account.key: [] for account in every_account()}
        self.ann_energy: dict[str, float] = {}
        self.classes: set[int] = set()
        self.thumbnails: list[bytes] = []
        self.heat: list[np.ndarray] = []
        # Id and class -> positions of the frames in which the track is seen.
        self.tracks: dict[tuple[int, str], list[int]] = {}
        self.layers: dict[str, list[float]] = {}
        self.size = (0, 0)

    def add(self, seen: FrameResult) -> None:
        result, ann = seen.result, seen.ann
        assert ann is not None
        row = {
            "frame": seen.frame,
            "time": result.time,
            "boxes": box_rows(result.detections),
            "ann": box_rows(ann.detections),
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
        for layer, operations in seen.layers.items():
            self.layers.setdefault(layer, []).append(operations)
        for account in every_account():
            self.energy[account.key].append(account.snn(seen.work, seen.size))
            self.ann_energy[account.key] = account.ann(seen.size)
        self.classes |= class_ids([result.detections, ann.detections])
        self.size = result.image.shape[:2]
        self.thumbnails.append(jpeg(result.image, *THUMBNAILS[0]))
        layers = []
        for layer in result.maps[result.T].values():
            layers.append(small_map(layer, result.placement, HEAT_SIDE))
        self.heat.append(torch.stack(layers).sum(0).numpy())

    def data(self) -> dict[str, Any]:
        """What the page shows of all frames."""
        height, width = self.size
        heat = np.log1p(np.stack(self.heat))
        top = float(heat.max()) or 1.0
        numbers = {**self.columns, "energy": self.energy, "annEnergy": self.ann_energy}
        tracks: list[dict[str, Any]] = []
        for (track_id, name), frames in sorted(self.tracks.items()):
            colour = hexadecimal(track_colour(track_id))
            tracks.append({"name": f"{track_id} {name}", "colour": colour, "frames": frames})
        layers = [{"name": name, "values": row} for name, row in self.layers.items()]
        return {
            "tracks": tracks,
            "layers": rounded(layers),
            "width": width,
            "height": height,
            "images": thumbnails(self.thumbnails, FRAMES),
            **rounded(numbers),
            "heat": {
                **sprite(np.rint(255 / top * heat).astype(np.uint8)),
                "peak": rounded(float(np.expm1(top))),
            },
        }


def detect_options(options: ReportOptions) -> DetectOptions:
    """The same call as a detection that has what a page needs."""
    shared = {
        one.name: getattr(options, one.name)
        for one in fields(DetectOptions)
        if hasattr(options, one.name)
    }
    return DetectOptions(
        **{
            **shared,
            "steps": (),
            "T": options.T or 1,
            "overlay": True,
            "ann": True,
            "timeline": True,
        }
    )
