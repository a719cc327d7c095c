"""One evaluation run: what is done already is read back, the rest is computed, everything ends up in one list."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from spiking_yolo import __version__
from spiking_yolo.datasets.detection import DetectionSet
from spiking_yolo.datasets.labelled import LabelledSet
from spiking_yolo.errors import UserError
from spiking_yolo.io.ranks import Ranks
from spiking_yolo.studies.evaluate.engine import Engine
from spiking_yolo.studies.evaluate.record_log import Record, RecordLog, check_call, read_log


def run_records(
    engine: Engine,
    directory: Path | None = None,
    ranks: Ranks = Ranks(),  # noqa: B008
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> list[Record]:
    """The records of all images, in order; in processes other than the first an empty list.

    directory: keeps the records, and has them from an interrupted run; None keeps nothing. progress(done, total) is
    called first and after each batch, with images of this process. Raises UserError for a directory of another call.
    """
    batches, call = engine.batches(), engine_call(engine) if directory else {}
    known = _known(directory, call, ranks)
    missing = ranks.share([batch for batch in batches if not all(i in known for i in batch)])
    log = RecordLog(directory / f"records-{ranks.rank}.jsonl", call) if directory else None
    new: list[Record] = []
    done = len(known) if ranks.size == 1 else 0
    total = done + sum(map(len, missing))
    try:
        progress(done, total)
        for batch in missing:
            records = engine.records(batch)
            if log:
                log.append(records)
            new += records
            progress(done + len(new), total)
    finally:
        if log:
            log.close()
    known |= {record["index"]: record for records in ranks.gather(new) for record in records}
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
    problem, indices = ranks.broadcast((problem, list(known)))
    if problem:
        raise UserError(problem)
    return known if ranks.first else {index: {} for index in indices}


def engine_call(engine: Engine) -> dict[str, Any]:
    """What decides the records. A run may be resumed only with an equal one."""
    converted, spec = engine.converted, engine.converted.spec
    return {
        "weights_sha256": converted.provenance.get("weights_sha256", ""),
        "network_sha256": converted.sha256(),
        "recipe": json.loads(converted.recipe.to_json()),
        "imgsz": [spec.height, spec.width],
        "data": dataset_call(engine.task.dataset),
        **asdict(engine.options),
        **asdict(engine.simulation),
        **engine.task.thresholds,
        "device": engine.device.type,
        "torch": torch.__version__,
        "spiking_yolo": __version__,
    }


def dataset_call(dataset: DetectionSet | LabelledSet) -> dict[str, Any]:
    """Identifies a dataset by its images and what they are to show."""
    return {
        "name": dataset.name,
        "images": len(dataset),
        "sha256": hashlib.sha256("".join(dataset.lines()).encode()).hexdigest(),
    }
