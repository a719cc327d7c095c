"""Many methods on one network and dataset: one table and one plot, methods x timesteps."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from spiking_yolo.apps.evaluate.evaluation import SPAN
from spiking_yolo.apps.evaluate.tables import Intervals, Row, Table, in_precision
from spiking_yolo.data.classification import LabelledSet
from spiking_yolo.data.detection import DetectionSet
from spiking_yolo.draw import FigureFormat
from spiking_yolo.draw.curves import line_plot
from spiking_yolo.io.json import write_json
from spiking_yolo.io.tables import columns, percent, write_csv
from spiking_yolo.options import command_line, versions
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.plan import SimulationOptions

COMPARISON = "comparison.json"  # what `save` writes last
# Operations per MAC that are plotted: slow methods have hardly sent anything at T = 1.
LEAST = 0.01


@dataclass(frozen=True)
class Comparison:
    """Tables by method. figure: the one that the printed table and the plots show, e.g. mAP50.

    differences: of every method but the first to the first, if there was a bootstrap; see
    `differences`.
    """

    dataset: DetectionSet | LabelledSet
    recipes: Mapping[str, Recipe]
    tables: Mapping[str, Table]
    figure: str
    simulation: SimulationOptions
    differences: Mapping[str, Intervals] = field(default_factory=dict)

    @property
    def ann(self) -> Row:
        return next(iter(self.tables.values())).ann

    def text(self) -> str:
        """A title; per method and T: accuracy in percent, spikes, and operations as multiples of
        the ANN's MACs.
        """
        steps = [f"T={row['T']}" for row in next(iter(self.tables.values())).steps]
        ann, macs = self.ann[self.figure], self.ann["macs"]
        accuracy = [[f"{self.figure} (%)", *steps, "best*"]]
        gap = [["minus ANN (points)", *steps]]
        spikes = [["M spikes per image", *steps]]
        work = {
            counting: [[f"operations per MAC, {counting}", *steps]] for counting in Counts._fields
        }
        for name, table in self.tables.items():
            values = [row[self.figure] for row in table.steps]
            accuracy.append([name, *map(percent, values), percent(max(values))])
            gap.append([name, *(percent(value - ann, "+.1f") for value in values)])
            spikes.append([name, *(f"{row['spikes_per_image'] / 1e6:.3g}" for row in table.steps)])
            for counting, lines in work.items():
                lines.append(
                    [name, *(f"{row[f'sops_per_mac_{counting}']:.3g}" for row in table.steps)]
                )
        accuracy.append(["ANN", *[percent(ann)] * len(steps), ""])
        note = f"* selected over T on this split. ANN: {macs / 1e9:.3g} G MACs per image"
        title = (
            f"{self.dataset.name}, {len(self.dataset)}"
            f" images{in_precision(self.simulation.precision)}"
        )
        more = (gap, *self._paired(), spikes, *work.values())
        return "\n\n".join([f"{title}\n{columns(accuracy)}\n{note}", *map(columns, more)])

    def _paired(self) -> list[list[list[str]]]:
        """The table of the differences to the first method in points, with their 95 % intervals."""
        if not self.differences:
            return []
        steps = [f"T={row['T']}" for row in next(iter(self.tables.values())).steps]
        lines = [[f"minus {next(iter(self.tables))}, 95 %", *steps]]
        for name, rows in self.differences.items():
            cells = (row[self.figure] for row in rows.values())
            lines.append(
                [
                    name,
                    *(
                        f"{percent(i.value, '+.1f')} [{percent(i.low)}, {percent(i.high)}]"
                        for i in cells
                    ),
                ]
            )
        return [lines]

    def save(self, folder: Path, figures: FigureFormat = "png") -> None:
        """Write comparison.csv, accuracy-T.png, accuracy-operations.png and, last, comparison.json.

        figures: a second format of the plots. In the last, minus_first of a method is
        T -> figure -> [difference, low, high].
        """
        rows = [
            {"method": name, **row} for name, table in self.tables.items() for row in table.steps
        ]
        write_csv(folder / "comparison.csv", [{"method": "ann", **self.ann}, *rows], list(rows[0]))
        operations = "synaptic operations / ANN multiply-accumulates"
        self._plot(folder / "accuracy-T.png", "T", 1, "timesteps T", figures)
        self._plot(
            folder / "accuracy-operations.png",
            "sops_per_image",
            self.ann["macs"],
            operations,
            figures,
        )
        methods = {
            name: {"recipe": json.loads(self.recipes[name].to_json()), "steps": table.steps}
            for name, table in self.tables.items()
        }
        for name, by_step in self.differences.items():
            methods[name]["minus_first"] = {
                t: {figure: [i.value, i.low, i.high] for figure, i in row.items()}
                for t, row in by_step.items()
            }
        described = {
            "dataset": self.dataset.name,
            "images": len(self.dataset),
            **asdict(self.simulation),
        }
        content = {
            **described,
            "versions": versions(),
            "command": command_line(),
            "ann": self.ann,
            "methods": methods,
        }
        write_json(folder / COMPARISON, content, indent=1)

    def _plot(
        self, path: Path, key: str, scale: float, label: str, figures: FigureFormat = "png"
    ) -> None:
        series = {}
        for method, table in self.tables.items():
            rows = [row for row in table.steps if row[key] / scale >= LEAST]
            if rows:
                series[method] = (
                    [row[key] / scale for row in rows],
                    [100 * row[self.figure] for row in rows],
                )
        ann = 100 * self.ann[self.figure]
        points = {"ANN, multiply-accumulates": (1.0, ann)} if scale != 1 else {}
        line_plot(
            path,
            series,
            label,
            f"{self.figure} (%)",
            True,
            {"ANN": ann},
            points=points,
            least=SPAN,
            also=figures,
        )
