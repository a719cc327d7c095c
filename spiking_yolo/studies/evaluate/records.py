"""One evaluation run: what is done already is read back, the rest is computed, everything ends up in one list."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from spiking_yolo import __version__
from spiking_yolo.convert.converted import Converted
from spiking_yolo.datasets.detection import DetectionSet
from spiking_yolo.datasets.labelled import LabelledSet
from spiking_yolo.errors import UserError
from spiking_yolo.studies.evaluate.engine import Engine, Record
from spiking_yolo.studies.evaluate.ranks import Ranks
from spiking_yolo.studies.evaluate.record_log import RecordLog, check_call, read_log

RESULTS, COMPARISON = "results.json", "comparison.json"  # what a run of one method, of several, writes last
_BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} images [{rate_noinv_fmt}, {remaining} left]"


def run_records(
    engine: Engine, call: dict[str, Any], directory: Path | None = None, ranks: Ranks | None = None
) -> list[Record]:
    """The records of all images, in order; in processes other than the first an empty list.

    call: what identifies the run (see `network_call`). directory: keeps the records, and has them from an interrupted
    run; None keeps nothing. Raises UserError when the directory belongs to another call.
    """
    ranks = ranks or Ranks()
    batches = engine.batches()
    known = _known(directory, call, ranks)
    missing = ranks.share([batch for batch in batches if not all(i in known for i in batch)])
    log = RecordLog(directory / f"records-{ranks.rank}.jsonl", call) if directory else None
    new: list[Record] = []
    total, done = sum(map(len, missing)), len(known) if ranks.size == 1 else 0
    try:
        with tqdm(total=total + done, initial=done, unit="image", bar_format=_BAR, disable=not ranks.first) as bar:
            for records in engine.records(missing):
                if log:
                    log.append(records)
                new += records
                bar.update(len(records))
    finally:
        if log:
            log.close()
    for text in ranks.gather("\n".join(map(json.dumps, new))):
        known |= {record["index"]: record for record in map(json.loads, text.splitlines())}
    return [known[i] for batch in batches for i in batch] if ranks.first else []


def _known(directory: Path | None, call: dict[str, Any], ranks: Ranks) -> dict[int, Record]:
    """Records of an interrupted run, the same ones in every process."""
    known: dict[int, Record] = {}
    problem = ""
    try:
        for path in sorted(directory.glob("records-*.jsonl")) if directory and ranks.first else []:
            old, records, _ = read_log(path)
            if old:
                check_call(old, call, path)
            known |= {record["index"]: record for record in records}
    except UserError as error:
        problem = str(error)
    # All processes start together from what the first one has seen, before any of them writes.
    problem, indices = json.loads(ranks.broadcast(json.dumps([problem, list(known)])))
    if problem:
        raise UserError(problem)
    return known if ranks.first else {index: {} for index in indices}


def network_call(converted: Converted, engine: Engine, data: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What decides the records. A run may be resumed only with an equal one."""
    return {
        "weights_sha256": converted.provenance.get("weights_sha256", ""),
        "network_sha256": _digest(_network_bytes(converted)),
        "recipe": json.loads(converted.recipe.to_json()),
        "imgsz": [converted.spec.height, converted.spec.width],
        "data": data,
        **asdict(engine.settings),
        **asdict(engine.simulation),
        **more,
        "device": engine.device.type,
        "torch": torch.__version__,
        "spiking_yolo": __version__,
    }


def dataset_call(dataset: DetectionSet | LabelledSet) -> dict[str, Any]:
    """Identifies a dataset by its images and what they are to show."""
    return {"name": dataset.name, "images": len(dataset), "sha256": _digest(map(str.encode, dataset.lines()))}


def _network_bytes(converted: Converted) -> Iterable[bytes]:
    for name, values in sorted(converted.sites.items()):
        for key, value in sorted(values.items()):
            yield f"{name}.{key}".encode()
            yield value.cpu().contiguous().numpy().tobytes()
    for name, value in sorted(converted.graph.tensors.items()):
        yield name.encode()
        yield value.cpu().contiguous().numpy().tobytes()


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def choose_directory(
    project: Path, name: str, resume: str | None, fresh: Callable[[Path, str], Path], several: bool = False
) -> Path:
    """Where a run writes: a new folder, or the one to resume.

    resume: None for a new run (`fresh(project, name)`), "latest" for the newest unfinished one of this name, or a
    folder. several: the run is of several methods, each with a folder inside. Raises UserError when there is nothing to
    resume, or it is finished.
    """
    last, records = (COMPARISON, "*/records-*.jsonl") if several else (RESULTS, "records-*.jsonl")
    if resume is None:
        return fresh(project, name)
    if resume == "latest":
        runs = [p for p in project.glob(f"{name}*") if p.name[len(name) :].isdigit() or p.name == name]
        unfinished = [p for p in runs if not (p / last).exists() and any(p.glob(records))]
        if not unfinished:
            raise UserError(f"no unfinished run {name} in {project}: leave --resume out, or name its folder")
        return max(unfinished, key=lambda p: int(p.name[len(name) :] or 1))
    folder = Path(resume)
    if (folder / last).exists():
        raise UserError(f"{folder} is finished: leave --resume out to start a new run")
    if not any(folder.glob(records)):
        raise UserError(f"{folder} holds no interrupted run: leave --resume out to start a new one")
    return folder
