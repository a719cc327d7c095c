"""What an analysis leaves: layers.csv, analysis.json, figures; and the table and the diagnosis that are printed."""

from __future__ import annotations

import csv
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spiking_yolo.io.files import atomic_write
from spiking_yolo.studies.analyze.chain import OWN
from spiking_yolo.studies.analyze.cost import Cost
from spiking_yolo.studies.analyze.run import Analysis
from spiking_yolo.studies.analyze.totals import short
from spiking_yolo.studies.evaluate.report import versions, write_json
from spiking_yolo.studies.evaluate.tables import WIDTH, columns

_HEAD = (
    "error",
    "clip",
    "quant",
    "spike",
    "below",
    "uneven",
    "sat",
    "silent",
    "dead",
    "SIN16",
    "SIN",
    "rate",
    "spikes",
)


def table(analysis: Analysis) -> str:
    """One line per layer, of at most 100 columns; NOTE explains the columns."""
    rows: list[list[str]] = [[*_HEAD]]
    for layer in analysis.layers:
        norms = layer.norms()
        errors = (layer.relative_error, *(norms[name] for name in (*OWN, "inherited", "uneven arrival")))
        cells = [_percent(value) for value in (*errors, layer.saturated / layer.sites)]
        cells += [str(layer.count("silent")), str(layer.count("dead"))]
        cells += [_percent(layer.sin(16)), _percent(layer.sin(layer.T)), f"{layer.rate:.3f}"]
        rows.append([*cells, _compact(layer.spikes[layer.T] / layer.images)])
    room = WIDTH - sum(2 + max(len(row[i]) for row in rows) for i in range(len(_HEAD)))
    names = ["layer", *(_cut(short(layer.name), max(room, 5)) for layer in analysis.layers)]
    return columns([[name, *row] for name, row in zip(names, rows, strict=True)])


NOTE = """error: norm of the difference to the ANN, in % of the ANN activation's norm. Its parts, as norms:
clipping, quantisation, spike-inherent, and what comes from below, of which uneven arrival. sat: %
of neurons at their highest rate. silent: channels that the ANN uses and that never fired; dead:
channels that the ANN does not use. SIN: % of inactivated neurons that fired, by t = 16 and in
all. Here neurons stand in front of max pooling (neuron.pool_first=false): layers compare one to
one with the ANN's."""


def cost_table(costs: Mapping[str, Cost]) -> str:
    """Spikes and error of the output by method and timestep, each method as the tools run it."""
    times = sorted(next(iter(costs.values())).spikes)
    rows = [["method", *(f"spikes T={t}" for t in times), *(f"error T={t}" for t in times)]]
    for name, cost in costs.items():
        rows.append([name, *(_compact(cost.spikes[t]) for t in times), *(_number(cost.error[t]) for t in times)])
    return columns(rows)


def save(analysis: Analysis, costs: Mapping[str, Cost], words: Sequence[str], limit: float, folder: Path) -> None:
    """Write layers.csv, analysis.json and the figures."""
    from spiking_yolo.studies.analyze.figures import draw_all

    rows = [layer.row() for layer in analysis.layers]
    with atomic_write(folder / "layers.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_json(folder / "analysis.json", content(analysis, costs, words, limit), indent=1)
    draw_all(analysis, costs, folder)


def content(analysis: Analysis, costs: Mapping[str, Cost], words: Sequence[str], limit: float) -> dict[str, Any]:
    """analysis.json: rows as in layers.csv, SIN ratios of every step, the sampled neurons, and where all comes from."""
    converted, sample = analysis.converted, analysis.sample
    return {
        "method": analysis.method,
        "recipe": json.loads(converted.recipe.to_json()),
        "weights_sha256": converted.provenance.get("weights_sha256"),
        "versions": versions(),
        "T": analysis.T,
        "images": [Path(image).name for image in analysis.images],
        "limit": limit,
        "diagnosis": list(words),
        "output_error": {str(t): error for t, error in analysis.output_error.items()},
        "layers": [
            {**layer.row(), "sin": [_finite(layer.sin(t)) for t in range(1, layer.T + 1)]} for layer in analysis.layers
        ],
        "sample": {
            "layer": sample.name,
            "activation": sample.activation.tolist(),
            "Theta": sample.top.tolist(),
            "t": sample.t,
            "theta": [values.tolist() for values in sample.theta],
            "potential": [values.tolist() for values in sample.potential],
        },
        "methods": {
            name: {key: {str(t): v for t, v in getattr(cost, key).items()} for key in ("spikes", "error")}
            for name, cost in costs.items()
        },
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}" if value < 10 else f"{value:.3g}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _compact(count: float) -> str:
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= scale:
            return f"{count / scale:.3g}{unit}"
    return f"{count:.3g}"


def _cut(name: str, room: int) -> str:
    return name if len(name) <= room else "…" + name[1 - room :]


def wrapped(words: Sequence[str]) -> str:
    """Sentences as lines that fit the width."""
    return "\n".join(textwrap.fill(line, WIDTH, break_on_hyphens=False, subsequent_indent="  ") for line in words)
