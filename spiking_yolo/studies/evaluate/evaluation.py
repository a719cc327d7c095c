"""The result of an evaluation: its table, what is printed of it, and its files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from spiking_yolo.convert.converted import Converted
from spiking_yolo.datasets.coco import CocoSet
from spiking_yolo.datasets.coco_json import as_coco
from spiking_yolo.datasets.detection import DetectionSet
from spiking_yolo.datasets.labelled import LabelledSet
from spiking_yolo.io.json_text import finite, write_json
from spiking_yolo.io.tables import percent, write_csv
from spiking_yolo.metrics.bootstrap import Resampling
from spiking_yolo.metrics.energy import Account
from spiking_yolo.snn.options import SimulationOptions
from spiking_yolo.studies.evaluate.break_even import BreakEven, break_even
from spiking_yolo.studies.evaluate.cost_model import CostModel
from spiking_yolo.studies.evaluate.intervals import Intervals, resamplings, row_intervals
from spiking_yolo.studies.evaluate.options import EvaluationOptions
from spiking_yolo.studies.evaluate.plots import plot_all, plot_energy
from spiking_yolo.studies.evaluate.record_log import Record
from spiking_yolo.studies.evaluate.rows import Row, Table, seconds_per_image, table
from spiking_yolo.studies.evaluate.scorers import Scorer
from spiking_yolo.studies.evaluate.tables import (
    NOTE,
    class_table,
    energy_table,
    in_precision,
    interval_table,
    main_table,
    neurobench_table,
)
from spiking_yolo.studies.versions import command_line, versions

RESULTS = "results.json"  # what `save` writes last


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A converted network on a dataset. Figures are fractions, nan where there is nothing to measure.

    of_images: of the dataset, of which `dataset` may be a part. records: one per image, see Engine. table: one row per
    timestep, and of the ANN. resamplings: by row, if the options ask for a bootstrap, and intervals: the 95 % of them.
    worth: where the spiking network uses less energy than the ANN, if there is a quantised ANN to compare with.
    """

    network: Converted
    dataset: DetectionSet | LabelledSet
    of_images: int
    scorer: Scorer
    accounts: Sequence[Account]
    simulation: SimulationOptions
    records: Sequence[Record]
    table: Table
    resamplings: Mapping[str, Resampling]
    intervals: Intervals
    worth: Sequence[BreakEven]

    @classmethod
    def of(
        cls,
        records: Sequence[Record],
        network: Converted,
        dataset: DetectionSet | LabelledSet,
        scorer: Scorer,
        options: EvaluationOptions = EvaluationOptions(),  # noqa: B008
        simulation: SimulationOptions = SimulationOptions(),
        of_images: int | None = None,
    ) -> "Evaluation":
        """Score the records of all images of the dataset."""
        rows = table(records, scorer, CostModel.of(network), options.accounts)
        drawn = resamplings(rows, options.bootstrap, options.seed) if options.bootstrap else {}
        ranges = row_intervals(drawn)
        worth = break_even(rows, options.accounts) if rows.baseline else []
        images = len(dataset) if of_images is None else of_images
        return cls(network, dataset, images, scorer, options.accounts, simulation, records, rows, drawn, ranges, worth)

    def text(self, per_class: bool = False) -> str:
        """Tables that fit 100 columns, and what they rest on. per_class: the accuracy of every class too."""
        figures, rows = self.scorer.main, self.table
        method = self.network.recipe.name + in_precision(self.simulation.precision)
        lines = [f"{self.dataset.name}, {len(self.dataset)} images, method {method}; figures in percent"]
        lines.append(main_table(rows, figures))
        lines.append(self._latency())
        if rows.exit:
            kept, saved = percent(rows.exit[f"{figures[0]}_kept"]), percent(rows.exit["operations_saved"])
            last = rows.steps[-1]["T"]
            lines.append(f"early exit keeps {kept} % of {figures[0]} at T={last} and saves {saved} % of the operations")
        lines += [f"\n{energy_table(rows, self.accounts, self.worth)}", NOTE, f"\n{neurobench_table(rows)}"]
        if self.intervals:
            lines.append(f"\n{interval_table(self.intervals, figures[0])}")
        if per_class:
            lines.append(f"\n{class_table(rows)}")
        return "\n".join([*lines, f"\n{seconds_per_image(self.records):.3g} s per image"])

    def _latency(self) -> str:
        recipe, layers = self.network.recipe, len(self.network.graph.activations)
        T = self.table.steps[-1]["T"]
        together, pipelined = recipe.latency(T, layers)
        return (
            f"a neuron sends at most {recipe.events_per_step} events per step; one after the other T={T} takes "
            f"{together} sub-steps\nof all {layers} layers, or {pipelined} where layers are a pipeline"
        )

    def save(self, folder: Path) -> None:
        """Write instances.json (what was scored, unless it is COCO's own file), predictions_ann.json and
        predictions_T.json per step (boxes in COCO's results format), results.csv, plots and, last, results.json.
        """
        if isinstance(self.dataset, DetectionSet) and not isinstance(self.dataset, CocoSet):
            write_json(folder / "instances.json", as_coco(self.dataset))
        predictions = {"ann": [r["ann"] for r in self.records]}
        predictions |= {t: [r["steps"][t]["found"] for r in self.records] for t in self.records[0]["steps"]}
        for name, of_images in predictions.items():
            write_json(folder / f"predictions_{name}.json", self.scorer.rows(of_images))
        rows = [{"row": title, **row} for title, _, row in self._rows()]
        write_csv(folder / "results.csv", rows, list(dict.fromkeys(name for row in rows[::-1] for name in row)))
        plot_all(self.table, self.scorer, self.network.recipe.name, folder, self.intervals)
        if self.worth:
            plot_energy(self.table, self.accounts, self.worth, folder / "energy-operations.png")
        write_json(folder / RESULTS, self.results(), indent=1)

    def results(self) -> dict[str, Any]:
        """The content of results.json; None stands for nothing to measure."""
        table = self.table
        rows = {name: row | self._interval(name) for _, name, row in self._rows()}
        content = {
            "dataset": self.dataset.name,
            "images": len(self.dataset),
            "of_images": self.of_images,
            "notes": self.dataset.notes,
            **asdict(self.simulation),
            "weights": self.network.provenance.get("weights"),
            "weights_sha256": self.network.provenance.get("weights_sha256"),
            "command": command_line(),
            "date": date.today().isoformat(),
            "method": self.network.recipe.name,
            "recipe": json.loads(self.network.recipe.to_json()),
            "versions": versions(),
            "events_per_step": self.network.recipe.events_per_step,
            "accounts": [asdict(account) for account in self.accounts],
            "ann": rows["ann"],
            "steps": [rows[str(row["T"])] for row in table.steps],
            "measure_per_class": self.scorer.names[1],
            "objects_per_class": table.scored["ann"].objects,
            "per_class": {name: scored.per_class for name, scored in table.scored.items() if scored.per_class},
        }
        if table.baseline:
            content["baseline"] = [rows[f"{row['bits']} bit"] for row in table.baseline]
            content["break_even"] = [asdict(one) for one in self.worth]
        if table.exit:
            content["early_exit"] = rows["exit"]
        return finite({**content, "seconds_per_image": seconds_per_image(self.records)})

    def _interval(self, name: str) -> Row:
        intervals = self.intervals.get(name)
        return {"interval_95": {figure: [i.low, i.high] for figure, i in intervals.items()}} if intervals else {}

    def _rows(self) -> list[tuple[str, str, Row]]:
        """Title, name in `table.scored`, and row."""
        rows = [("ann", "ann", self.table.ann)]
        rows += [(f"ann {row['bits']} bit", f"{row['bits']} bit", row) for row in self.table.baseline]
        rows += [(f"T={row['T']}", str(row["T"]), row) for row in self.table.steps]
        return rows + ([("early exit", "exit", self.table.exit)] if self.table.exit else [])
