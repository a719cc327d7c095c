"""Many methods on one network and dataset: one table and one plot, methods x timesteps."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spiking_yolo.convert.pipeline import convert_ann
from spiking_yolo.convert.registry import get_recipe, list_methods
from spiking_yolo.datasets.detection import DetectionSet
from spiking_yolo.datasets.labelled import LabelledSet
from spiking_yolo.draw.curves import line_plot
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write
from spiking_yolo.models.load import Ann
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.options import SimulationOptions
from spiking_yolo.studies.evaluate.compare import evaluate_detector
from spiking_yolo.studies.evaluate.engine import Settings
from spiking_yolo.studies.evaluate.ranks import Ranks
from spiking_yolo.studies.evaluate.records import COMPARISON
from spiking_yolo.studies.evaluate.report import versions, write_json
from spiking_yolo.studies.evaluate.rows import Row, Table
from spiking_yolo.studies.evaluate.scorers import Scorer
from spiking_yolo.studies.evaluate.tables import columns, in_precision, percent


@dataclass(frozen=True)
class Comparison:
    """Tables by method. figure: the one that the printed table and the plots show, e.g. mAP50."""

    dataset: DetectionSet | LabelledSet
    recipes: Mapping[str, Recipe]
    tables: Mapping[str, Table]
    figure: str
    simulation: SimulationOptions

    @property
    def ann(self) -> Row:
        return next(iter(self.tables.values())).ann

    def text(self) -> str:
        """A title; per method and T: accuracy in percent, spikes, and operations as multiples of the ANN's MACs."""
        steps = [f"T={row['T']}" for row in next(iter(self.tables.values())).steps]
        ann, macs = self.ann[self.figure], self.ann["macs"]
        accuracy = [[f"{self.figure} (%)", *steps, "best*"]]
        gap = [["minus ANN (points)", *steps]]
        spikes = [["M spikes per image", *steps]]
        work = [["operations / ANN MACs", *steps]]
        for name, table in self.tables.items():
            values = [row[self.figure] for row in table.steps]
            accuracy.append([name, *map(percent, values), percent(max(values))])
            gap.append([name, *(percent(value - ann, "+.1f") for value in values)])
            spikes.append([name, *(f"{row['spikes_per_image'] / 1e6:.3g}" for row in table.steps)])
            work.append([name, *(f"{row['sops_per_image'] / macs:.3g}" for row in table.steps)])
        accuracy.append(["ANN", *[percent(ann)] * len(steps), ""])
        note = f"* selected over T on this split. ANN: {macs / 1e9:.3g} G MACs per image"
        title = f"{self.dataset.name}, {len(self.dataset)} images{in_precision(self.simulation.precision)}"
        return "\n\n".join([f"{title}\n{columns(accuracy)}\n{note}", *map(columns, (gap, spikes, work))])

    def save(self, directory: Path) -> None:
        """accuracy-T.png, accuracy-operations.png, comparison.csv and, last of all, comparison.json."""
        rows = [{"method": name, **row} for name, table in self.tables.items() for row in table.steps]
        with atomic_write(directory / "comparison.csv") as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows([{"method": "ann", **{k: v for k, v in self.ann.items() if k in rows[0]}}, *rows])
        label, reference = f"{self.figure} (%)", {"ANN": 100 * self.ann[self.figure]}
        for name, key, scale, axis in (
            ("accuracy-T", "T", 1, "timesteps T"),
            (
                "accuracy-operations",
                "sops_per_image",
                self.ann["macs"],
                "synaptic operations / ANN multiply-accumulates",
            ),
        ):
            series = {
                method: ([row[key] / scale for row in table.steps], [100 * row[self.figure] for row in table.steps])
                for method, table in self.tables.items()
            }
            line_plot(directory / f"{name}.png", series, axis, label, logx=True, hlines=reference)
        write_json(directory / COMPARISON, self._content(), indent=1)

    def _content(self) -> dict[str, Any]:
        methods = {
            name: {"recipe": json.loads(self.recipes[name].to_json()), "steps": table.steps}
            for name, table in self.tables.items()
        }
        described = {"dataset": self.dataset.name, "images": len(self.dataset), **asdict(self.simulation)}
        return {**described, "versions": versions(), "ann": self.ann, "methods": methods}


def chosen_recipes(methods: str, settings: Mapping[str, Any]) -> dict[str, Recipe]:
    """The recipes that --methods names, by name. methods: names or recipe.json files with commas, or "all".

    Raises UserError for an unknown one, for two of one name, and where the settings do not fit.
    """
    names = list(list_methods()) if methods == "all" else methods.split(",")
    recipes = [get_recipe(name.strip()).with_settings(settings) for name in names]
    found = {recipe.name: recipe for recipe in recipes}
    if len(found) < len(recipes):
        raise UserError(f"--methods {methods} holds two methods of one name: give each of them once")
    return found


def compare(
    ann: Ann,
    recipes: Mapping[str, Recipe],
    dataset: DetectionSet,
    settings: Settings,
    scorer: Scorer,
    directory: Path,
    thresholds: Mapping[str, float],
    device: str = "cpu",
    simulation: SimulationOptions = SimulationOptions(),
) -> Comparison:
    """Evaluate every recipe; records of finished images are kept in DIRECTORY/METHOD, so an interruption loses little.

    All recipes are converted before the first run, so that a missing calibration is found at once.
    """
    converted = {name: convert_ann(ann, recipe) for name, recipe in recipes.items()}
    tables: dict[str, Table] = {}
    for name, network in converted.items():
        print(f"{name} ({len(tables) + 1} of {len(converted)})")
        table = evaluate_detector(
            network,
            dataset,
            settings,
            scorer,
            thresholds=thresholds,
            directory=directory / name,
            ranks=Ranks(device=device),
            simulation=simulation,
        )
        assert table is not None  # there is one process
        tables[name] = table
    return Comparison(dataset, recipes, tables, scorer.main[0], simulation)
