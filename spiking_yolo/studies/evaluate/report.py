"""The files of an evaluation: results.json, results.csv and the predictions of every row."""

from __future__ import annotations

import csv
import json
import math
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from spiking_yolo import __version__
from spiking_yolo.convert.converted import Converted
from spiking_yolo.io.files import atomic_write
from spiking_yolo.metrics.energy import Costs
from spiking_yolo.studies.evaluate.engine import Record
from spiking_yolo.studies.evaluate.intervals import Intervals
from spiking_yolo.studies.evaluate.rows import Row, Table, seconds_per_image
from spiking_yolo.studies.evaluate.worth import BreakEven

LIBRARIES = ("torch", "torchvision", "numpy", "pycocotools", "opencv-python")


def results(
    converted: Converted,
    data: Mapping[str, Any],
    table: Table,
    records: Sequence[Record],
    costs: Costs,
    intervals: Intervals | None = None,
    worth: Sequence[BreakEven] = (),
) -> dict[str, Any]:
    """The content of results.json. Figures are fractions; null stands for nothing to measure.

    data: "dataset", "images", and what else describes the call.
    """
    parts = {
        **data,
        "weights_sha256": converted.provenance.get("weights_sha256"),
        "method": converted.recipe.name,
        "recipe": json.loads(converted.recipe.to_json()),
        "versions": versions(),
        "energy_pJ": vars(costs),
        "ann": _with(table.ann, "ann", intervals),
        "steps": [_with(row, str(row["T"]), intervals) for row in table.steps],
    }
    if table.baseline:
        parts["baseline"] = [_with(row, f"{row['bits']} bit", intervals) for row in table.baseline]
        parts["break_even"] = [vars(one) for one in worth]
    if table.exit:
        parts["early_exit"] = _with(table.exit, "exit", intervals)
    return _finite({**parts, "seconds_per_image": seconds_per_image(records)})


def versions() -> dict[str, str]:
    found = {"spiking_yolo": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _with(row: Row, name: str, intervals: Intervals | None) -> Row:
    if not intervals or name not in intervals:
        return row
    return {**row, "interval_95": {figure: [i.low, i.high] for figure, i in intervals[name].items()}}


def _finite(value: Any) -> Any:
    """JSON has no nan and no infinity."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent) + "\n")


def write_csv(path: Path, table: Table) -> None:
    """One line per row of the table, the same figures as in results.json."""
    rows: list[Row] = [{"row": "ann", **table.ann}]
    rows += [{"row": f"ann {row['bits']} bit", **row} for row in table.baseline]
    rows += [{"row": f"T={row['T']}", **row} for row in table.steps]
    rows += [{"row": "early exit", **table.exit}] if table.exit else []
    names = list(dict.fromkeys(name for row in rows[::-1] for name in row))
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({k: v for k, v in _finite(row).items() if v is not None} for row in rows)


def write_predictions(folder: Path, records: Sequence[Record], rows: Any) -> None:
    """predictions_ann.json and predictions_T.json per step; boxes in COCO's results format.

    rows: from one prediction per image to the rows of the file (`Scorer.rows`).
    """
    write_json(folder / "predictions_ann.json", rows([r["ann"] for r in records]))
    for t in records[0]["steps"]:
        write_json(folder / f"predictions_{t}.json", rows([r["steps"][t]["found"] for r in records]))
