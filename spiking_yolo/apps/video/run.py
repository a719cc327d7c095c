"""Every sequence through every network, one after the other; what is finished stays."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from spiking_yolo import __version__
from spiking_yolo.apps.video.evaluation import TOTAL, VideoEvaluation
from spiking_yolo.apps.video.modes import Bench
from spiking_yolo.apps.video.tables import Measured
from spiking_yolo.data import mot
from spiking_yolo.data.mot import MotBoxes
from spiking_yolo.data.sources import taken
from spiking_yolo.errors import UserError
from spiking_yolo.metrics.video import PERSON
from spiking_yolo.options import Progress, silent

# What an interrupted run has left.
KEPT = "frames-*.json"


def open_data(paths: Sequence[Path]) -> list[mot.VideoSequence]:
    """All sequences at all paths. Raises UserError when two have one name, and as `open_sequences`
    does.
    """
    found = [sequence for path in paths for sequence in mot.open_sequences(path)]
    names = [sequence.name for sequence in found]
    names += [TOTAL] * (len(names) > 1)
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(
            f"--data holds two sequences called {min(twice)}: give each of them once, or rename one"
        )
    return found


def evaluate(
    bench: Bench,
    sequences: Sequence[mot.VideoSequence],
    folder: Path | None = None,
    progress: Progress = silent,
) -> VideoEvaluation:
    """Measure every sequence in every mode, one after the other.

    folder: keeps what is finished, and has it from an interrupted run; None keeps nothing.
    progress(what, done, total). Raises UserError before the first frame for a bad ground truth, or
    a folder of another call; and for a sequence that cannot be read.
    """
    every, modes = bench.options.every, bench.options.modes
    if any(sequence.truth for sequence in sequences) and PERSON not in bench.converted.spec.names:
        raise UserError(
            f"this network has no class '{PERSON}', which the ground truth marks: give bare clips"
        )
    truths = [
        _taken(sequence.ground_truth(), every) if sequence.truth else None for sequence in sequences
    ]
    network = bench.converted.sha256() if folder else ""
    known: dict[tuple[str, str], list[modes.FrameRecord]] = {}
    if folder:
        for sequence in sequences:
            for mode in modes:
                records = modes.load(
                    modes.kept(folder, sequence.name, mode), _call(bench, network, sequence, mode)
                )
                if records is not None:
                    known[sequence.name, mode] = records

    def of(sequence: mot.VideoSequence, mode: str) -> list[modes.FrameRecord]:
        if (sequence.name, mode) in known:
            return known[sequence.name, mode]
        what = f"{sequence.name}, {mode}"
        length = taken(sequence.length, every, bench.options.limit_frames)
        records = modes.measure(bench, sequence, mode, lambda done: progress(what, done, length))
        if folder:
            modes.save(
                modes.kept(folder, sequence.name, mode),
                _call(bench, network, sequence, mode),
                records,
            )
        return records

    measured = [
        Measured(sequence.name, truth, {mode: of(sequence, mode) for mode in modes})
        for sequence, truth in zip(sequences, truths, strict=True)
    ]
    return VideoEvaluation(bench, measured)


def _taken(truth: Mapping[int, MotBoxes], every: int) -> dict[int, MotBoxes]:
    """The people of every n-th frame, by its number among these, from 1."""
    return {
        (number - 1) // every + 1: boxes
        for number, boxes in truth.items()
        if (number - 1) % every == 0
    }


def _call(bench: Bench, network: str, sequence: mot.VideoSequence, mode: str) -> dict[str, Any]:
    """What decides the records of a sequence in a mode. A run may be resumed only with an equal
    one.
    """
    options, spec = bench.options, bench.converted.spec
    names = ["limit_frames", "every", "conf", "iou", "max_det"]
    names += ["T"] if mode in ("reset", "stream") else []
    names += {"stream": ["refresh"], "delta": ["delta_threshold", "delta_unit"]}.get(mode, [])
    files = [sequence.source] if isinstance(sequence.source, Path) else sequence.source
    return {
        "recipe": json.loads(bench.converted.recipe.to_json()),
        "network_sha256": network,
        "imgsz": [spec.height, spec.width],
        **{name: getattr(options, name) for name in names},
        "source": {
            "files": [file.name for file in files],
            "bytes": sum(file.stat().st_size for file in files),
        },
        **asdict(bench.simulation),
        "device": bench.device.type,
        "torch": torch.__version__,
        "spiking_yolo": __version__,
    }
