"""The result of an evaluation on videos: its rows, what is printed of them, and its files."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from spiking_yolo.apps.evaluate.tables import in_precision
from spiking_yolo.apps.video.modes import Bench
from spiking_yolo.apps.video.tables import (
    ENERGY_NOTE,
    NOTE,
    Measured,
    Row,
    account_table,
    cost_table,
    energies,
    mean_work,
    rows,
    score_table,
)
from spiking_yolo.draw.timeline import timeline
from spiking_yolo.io.json import finite, flat, write_json
from spiking_yolo.io.names import file_name
from spiking_yolo.io.tables import write_csv
from spiking_yolo.metrics.energy import TIMELINE
from spiking_yolo.options import versions

RESULTS = "results.json"  # what `save` writes last
# Confidence of the objects that a timeline counts.
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
        method = recipe.name + in_precision(bench.simulation.precision)
        accounts = bench.options.accounts
        stream = [record for one in self.measured for record in one.modes.get("stream", [])[1:]]
        energy = account_table(named, accounts, bench.size, mean_work(bench, "stream", stream))
        videos = f"{len(self.measured)} sequence{'s' * (len(self.measured) > 1)}"
        lines = [f"{videos}, {count} frames; method {method}, T={T} per frame"]
        lines += [score_table(named), "", cost_table(named), NOTE, "", energy, ENERGY_NOTE]
        return "\n".join(lines)

    def results(self) -> dict[str, Any]:
        """The content of results.json; None stands for nothing to measure."""
        bench = self.bench
        sequences = [
            {"name": name, "frames": rows[0]["frames"], "rows": rows}
            for name, rows in self.sequences.items()
        ]
        described = {
            "method": bench.converted.recipe.name,
            "recipe": json.loads(bench.converted.recipe.to_json()),
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
        drawn = [account for account in bench.options.accounts if account.key in TIMELINE]
        by_frame = [energies(bench, mode, [record]) for record in records]
        timeline(
            path,
            [record.frame for record in records],
            [record.operations[bench.model.counting] / bench.size.macs for record in records],
            [sum(c > SEEN for c in record.boxes["confidence"]) for record in records],
            {a.name: [of[a.key] or 0.0 for of in by_frame] for a in drawn},
            {a.name: a.ann(bench.size) for a in drawn},
            [record.frame for record in records if record.cut],
            also=bench.options.figures,
        )
