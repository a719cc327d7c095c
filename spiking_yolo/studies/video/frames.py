"""Frames of a sequence through one network, as records that JSON keeps exactly."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from spiking_yolo.convert.calibrate_value import relative_error
from spiking_yolo.datasets.mot import Sequence
from spiking_yolo.decode.yolo import detections
from spiking_yolo.errors import UserError
from spiking_yolo.graph import forward
from spiking_yolo.io.atomic import atomic_write
from spiking_yolo.io.images import preprocess
from spiking_yolo.io.json_text import exact_json
from spiking_yolo.io.names import file_name
from spiking_yolo.studies.evaluate.detection import BoxRecord, to_json
from spiking_yolo.studies.evaluate.record_log import check_call
from spiking_yolo.studies.video.modes import Bench


@dataclass(frozen=True)
class FrameRecord:
    """What a network found in a frame and what that cost.

    frame: its number in the video, from 0. error: of all head outputs, relative to the ANN's. seconds: of the network
    alone, without reading the frame and decoding boxes. The others as in Pass.
    """

    frame: int
    boxes: BoxRecord
    sent: dict[str, float]
    operations: dict[str, float]
    updates: float
    analogue_macs: float
    error: float
    seconds: float
    fresh: bool
    cut: bool


@torch.no_grad()
def measure(bench: Bench, sequence: Sequence, mode: str, progress: Callable[[int], Any]) -> list[FrameRecord]:
    """All frames that the options ask for, one after the other; progress(n) after the n-th."""
    options, spec = bench.options, bench.converted.spec
    graph, network = bench.converted.graph.to(bench.device), bench.network(mode)
    records: list[FrameRecord] = []
    taken = islice(enumerate(sequence.frames()), 0, None, options.every)
    for number, image in islice(taken, options.limit_frames):
        x, placement = preprocess(image, spec)
        x = x[None].to(bench.device)
        start = time.perf_counter()
        found = network(x)
        outputs = [output.cpu() for output in found.outputs]  # which waits for an accelerator
        seconds = time.perf_counter() - start
        exact = outputs if mode == "ann" else [output.cpu() for output in forward(graph, x)]
        (boxes,) = detections(outputs, spec, [placement], options.conf, options.iou, options.max_det, multi_label=True)
        error = relative_error(outputs, exact)
        costs = {name: value for name, value in vars(found).items() if name != "outputs"}
        records.append(FrameRecord(number, to_json(boxes), error=error, seconds=seconds, **costs))
        progress(len(records))
    return records


def kept(folder: Path, sequence: str, mode: str) -> Path:
    """Where a finished sequence and mode is kept."""
    return folder / f"frames-{file_name(sequence)}-{mode}.json"


def save(path: Path, call: dict[str, Any], records: list[FrameRecord]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(exact_json({"call": call, "frames": [asdict(record) for record in records]}) + "\n")


def load(path: Path, call: dict[str, Any]) -> list[FrameRecord] | None:
    """The records of an interrupted run, None where there are none.

    Raises UserError for a file that is damaged, or was made by another call.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        known, frames = content["call"], [FrameRecord(**frame) for frame in content["frames"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{path} is damaged: remove it, and it is measured again") from None
    check_call(known, call, path)
    return frames
