"""An evaluation on videos: every sequence through every network, and the files of the result."""

import itertools
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from spiking_yolo import __version__
from spiking_yolo.apps.video.modes import Bench, FrameRecord, measure
from spiking_yolo.apps.video.tables import (
    ENERGY_NOTE,
    NOTE,
    TRACK_NOTE,
    Measured,
    Row,
    account_table,
    cost_table,
    energies,
    mean_work,
    rows,
    score_table,
    track_table,
)
from spiking_yolo.data import mot
from spiking_yolo.data.mot import MotBoxes
from spiking_yolo.data.video import frames_to_read
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.tracking import tracking_library
from spiking_yolo.draw.timeline import Timeline
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.json import finite, flat, write_json
from spiking_yolo.io.names import file_name
from spiking_yolo.io.tables import write_csv
from spiking_yolo.log import RecordLog, read_records
from spiking_yolo.metrics.energy import TIMELINE
from spiking_yolo.metrics.matching import unmatched
from spiking_yolo.metrics.tracking import track_frames
from spiking_yolo.metrics.video import PERSON
from spiking_yolo.observe import layer_operations
from spiking_yolo.options import Progress, silent, versions

RESULTS = "results.json"  # what `save` writes last
KEPT = "frames-*.jsonl"  # what an interrupted run has left
# Confidence of the objects that a timeline counts and tracks follow.
SEEN = 0.25
TOTAL = "total"


@dataclass(frozen=True, eq=False)
class VideoEvaluation:
    """Sequences as every network saw them."""

    bench: Bench
    measured: Sequence[Measured]

    @cached_property
    def sequences(self) -> dict[str, list[Row]]:
        """The rows of each sequence, by its name."""
        return {one.name: rows(self.bench, [one]) for one in self.measured}

    @cached_property
    def total(self) -> list[Row]:
        """The rows of all frames together."""
        if len(self.measured) == 1:
            return next(iter(self.sequences.values()))
        return rows(self.bench, self.measured)

    def text(self) -> str:
        """Tables that fit 100 columns, and what they rest on."""
        bench, named = self.bench, dict(self.sequences)
        if len(named) > 1:
            named[TOTAL] = self.total
        count = sum(len(next(iter(one.modes.values()))) for one in self.measured)
        recipe, T = bench.converted.recipe, bench.options.T
        method = recipe.title
        accounts = bench.options.accounts
        stream = [record for one in self.measured for record in one.modes.get("stream", [])[1:]]
        energy = account_table(named, accounts, bench.size, mean_work(bench, "stream", stream))
        videos = f"{len(self.measured)} sequence{'s' * (len(self.measured) > 1)}"
        lines = [f"{videos}, {count} frames; method {method}, T={T} per frame"]
        lines += [score_table(named), "", cost_table(named), NOTE, ""]
        if tracks := track_table(named):
            lines += [tracks, TRACK_NOTE, ""]
        lines += [energy, ENERGY_NOTE]
        return "\n".join(lines)

    def results(self) -> dict[str, Any]:
        """The content of results.json; None stands for nothing to measure."""
        bench = self.bench
        sequences = [
            {"name": name, "frames": rows[0]["frames"], "rows": rows}
            for name, rows in self.sequences.items()
        ]
        described = {
            **bench.converted.recipe.facts(),
            "T": bench.options.T,
            "macs": bench.size.macs,
            "weights_sha256": bench.converted.provenance.get("weights_sha256"),
            "versions": versions(),
            "accounts": [asdict(account) for account in bench.options.accounts],
        }
        total = {"frames": self.total[0]["frames"], "rows": self.total}
        return finite({**described, "sequences": sequences, "total": total})

    def save(self, folder: Path) -> None:
        """Write results.csv, a timeline per sequence and, last, results.json."""
        table = [
            {"sequence": name, **flat(row)} for name, of in self._named().items() for row in of
        ]
        write_csv(
            folder / "results.csv", table, list(dict.fromkeys(key for row in table for key in row))
        )
        for one in self.measured:
            for mode in ("stream", "delta", "reset"):
                if mode in one.modes:
                    self._timeline(folder / f"timeline-{file_name(one.name)}.png", one, mode)
                    break
        write_json(folder / RESULTS, self.results(), indent=1)

    def _named(self) -> dict[str, list[Row]]:
        return {**self.sequences, TOTAL: self.total}

    def _timeline(self, path: Path, one: Measured, mode: str) -> None:
        bench, records = self.bench, one.modes[mode]
        shown_accounts = [account for account in bench.options.accounts if account.key in TIMELINE]
        by_frame = [energies(bench, mode, [record]) for record in records]
        seen = [_seen(record) for record in records]
        ann = [_seen(record) for record in one.modes.get("ann", [])]
        missed = [len(unmatched(*pair)[0]) for pair in zip(ann, seen, strict=False)]
        layers: dict[str, list[float]] = {}
        how = bench.converted.graph, bench.model.counting, bench.size.macs
        for record in records:
            for label, operations in layer_operations(record.layers, *how).items():
                layers.setdefault(label, []).append(operations)
        timeline = Timeline(
            frames=[record.frame for record in records],
            operations=[r.operations[bench.model.counting] / bench.size.macs for r in records],
            objects=list(map(len, seen)),
            cuts=[record.frame for record in records if record.cut],
            energies={a.name: [of[a.key] or 0.0 for of in by_frame] for a in shown_accounts},
            ann_energies={a.name: a.ann(bench.size) for a in shown_accounts},
            ann_objects=list(map(len, ann)),
            missed=missed,
            layers=layers,
        )
        timeline.save(path, bench.options.figures)


def _seen(record: FrameRecord) -> Detections:
    """The boxes of a frame that a timeline counts."""
    return record.boxes.take(record.boxes.confidence > SEEN)


def open_data(paths: Sequence[Path]) -> list[mot.VideoSequence]:
    """All sequences at all paths.

    Raises:
        UserError: Two have one name; or as `open_sequences` does.
    """
    sequences: list[mot.VideoSequence] = []
    for path in paths:
        sequences += mot.open_sequences(path)
    names = [sequence.name for sequence in sequences]
    names += [TOTAL] * (len(names) > 1)
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(
            f"--data holds two sequences called {min(twice)}: give each of them once, or rename one"
        )
    return sequences


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
    finished: dict[tuple[str, str], list[FrameRecord]] = {}
    calls: dict[tuple[str, str], dict[str, Any]] = {}
    if folder:
        for sequence, mode in itertools.product(sequences, modes):
            call = _call(bench, network, sequence, mode)
            calls[sequence.name, mode] = call
            records = read_records(_log(folder, sequence.name, mode), call, FrameRecord)
            finished[sequence.name, mode] = records

    def records_of(sequence: mot.VideoSequence, mode: str) -> list[FrameRecord]:
        key = sequence.name, mode
        if finished.get(key):
            return finished[key]
        length = frames_to_read(sequence.length, every, bench.options.limit_frames)
        title = f"{sequence.name}, {mode}"
        records = measure(bench, sequence, mode, lambda done: progress(title, done, length))
        if folder:
            # Under its name only once it is whole: the log of a sequence says that it is finished.
            part = _log(folder, *key).with_suffix(".part")
            part.unlink(missing_ok=True)
            log = RecordLog(part, calls[key])
            log.append(records)
            log.close()
            part.replace(_log(folder, *key))
        return records

    with_tracks = tracks_people(truths)
    measured: list[Measured] = []
    for sequence, truth in zip(sequences, truths, strict=True):
        by_mode = {mode: records_of(sequence, mode) for mode in modes}
        tracks = None
        if with_tracks and truth is not None and has_identities(truth):
            fps = sequence.fps / every
            names = bench.converted.spec.names
            tracks = {mode: _people(of_mode, names, fps) for mode, of_mode in by_mode.items()}
        measured.append(Measured(sequence.name, truth, by_mode, tracks))
    return VideoEvaluation(bench, measured)


def tracks_people(truths: Sequence[Mapping[int, MotBoxes] | None]) -> bool:
    """Whether people are to be followed. A Notice says so where the package for it is missing."""
    if not any(truth is not None and has_identities(truth) for truth in truths):
        return False
    try:
        tracking_library()
    except UserError as error:
        warnings.warn(Notice(f"MOTA, IDF1 and HOTA are left out: {error}"), stacklevel=2)
        return False
    return True


def has_identities(truth: Mapping[int, MotBoxes]) -> bool:
    """Whether every person of a ground truth has an id."""
    return all((boxes.ids >= 0).all() for boxes in truth.values())


def _people(records: Sequence[FrameRecord], names: Sequence[str], fps: float) -> list[Detections]:
    """The tracks of people in each frame."""
    person = list(names).index(PERSON)
    frames: list[Detections] = []
    for record in records:
        boxes = _seen(record)
        frames.append(boxes.take(boxes.class_id == person))
    cuts = {position for position, record in enumerate(records) if record.cut}
    return track_frames(frames, fps, cuts)


def _log(folder: Path, sequence: str, mode: str) -> Path:
    """Where the records of a finished sequence and mode are."""
    return folder / f"frames-{file_name(sequence)}-{mode}.jsonl"


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
    names = ["limit_frames", "every"]
    names += ["T"] if mode in ("reset", "stream") else []
    names += ["refresh"] if mode == "stream" else []
    names += ["delta_threshold", "delta_unit"] if mode == "delta" else []
    files = [sequence.source] if isinstance(sequence.source, Path) else sequence.source
    return {
        "recipe": json.loads(bench.converted.recipe.to_json()),
        "network_sha256": network,
        "imgsz": [spec.height, spec.width],
        **{name: getattr(options, name) for name in names},
        **options.box_options(),
        "source": {
            "files": [file.name for file in files],
            "bytes": sum(file.stat().st_size for file in files),
        },
        "device": bench.device.type,
        "torch": torch.__version__,
        "spiking_yolo": __version__,
    }
