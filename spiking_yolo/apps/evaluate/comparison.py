"""Many methods on one network and dataset: one table and one plot, methods x timesteps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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
    """Many methods on one network and dataset.

    Attributes:
        dataset: The images.
        recipes: By method.
        tables: By method.
        figure: The one that the printed table and the plots show, such as mAP50.
        simulation: How the networks were computed.
        differences: Of every method but the first to the first, if there was a bootstrap.
    """

    dataset: DetectionSet | LabelledSet
    recipes: Mapping[str, Recipe]
    tables: Mapping[str, Table]
    figure: str
    simulation: SimulationOptions
    differences: Mapping[str, Intervals] = field(default_factory=dict)

    @property
    def first(self) -> Table:
        """The table of the first method."""
        return next(iter(self.tables.values()))

    @property
    def ann(self) -> Row:
        return self.first.ann

    def text(self) -> str:
        """A title; per method and T: accuracy in percent, spikes, and operations per MAC."""
        steps = [f"T={row['T']}" for row in self.first.steps]
        ann, macs = self.ann[self.figure], self.ann["macs"]
        accuracy = [[f"{self.figure} (%)", *steps, "best*"]]
        for name, table in self.tables.items():
            values = [row[self.figure] for row in table.steps]
            accuracy.append([name, *map(percent, values), percent(max(values))])
        accuracy.append(["ANN", *[percent(ann)] * len(steps), ""])

        def cells(title: str, cell: Callable[[Row], str]) -> str:
            lines = [[title, *steps]]
            for name, table in self.tables.items():
                lines.append([name, *map(cell, table.steps)])
            return columns(lines)

        images = f"{len(self.dataset)} images{in_precision(self.simulation.precision)}"
        parts = [
            f"{self.dataset.name}, {images}\n{columns(accuracy)}\n"
            f"* selected over T on this split. ANN: {macs / 1e9:.3g} G MACs per image",
            cells("minus ANN (points)", lambda row: percent(row[self.figure] - ann, "+.1f")),
        ]
        remarks = [f"{name}: {r.remark}" for name, r in self.recipes.items() if r.remark]
        if remarks:
            parts[0] += "\n" + "\n".join(remarks)
        if self.differences:
            parts.append(self._paired(steps))
        parts.append(
            cells("M spikes per image", lambda row: f"{row['spikes_per_image'] / 1e6:.3g}")
        )
        for counting in Counts._fields:
            key = f"sops_per_mac_{counting}"
            parts.append(
                cells(f"operations per MAC, {counting}", lambda row, key=key: f"{row[key]:.3g}")
            )
        return "\n\n".join(parts)

    def _paired(self, steps: Sequence[str]) -> str:
        """The differences to the first method in points, with their 95 % intervals."""
        lines = [[f"minus {next(iter(self.tables))}, 95 %", *steps]]
        for name, rows in self.differences.items():
            line = [name]
            for row in rows.values():
                i = row[self.figure]
                line.append(f"{percent(i.value, '+.1f')} [{percent(i.low)}, {percent(i.high)}]")
            lines.append(line)
        return columns(lines)

    def save(self, folder: Path, figures: FigureFormat = "png") -> None:
        """Write comparison.csv, accuracy-T.png, accuracy-operations.png and, last, comparison.json.

        figures: a second format of the plots. In the last, minus_first of a method is
        T -> figure -> [difference, low, high].
        """
        rows: list[Row] = []
        for name, table in self.tables.items():
            rows += [{"method": name, **row} for row in table.steps]
        header = list(dict.fromkeys(key for row in rows for key in row))
        write_csv(folder / "comparison.csv", [{"method": "ann", **self.ann}, *rows], header)
        operations = "synaptic operations / ANN multiply-accumulates"
        self._plot(folder / "accuracy-T.png", "T", 1, "timesteps T", figures)
        self._plot(
            folder / "accuracy-operations.png",
            "sops_per_image",
            self.ann["macs"],
            operations,
            figures,
        )
        methods: dict[str, dict[str, Any]] = {}
        for name, table in self.tables.items():
            methods[name] = {**self.recipes[name].facts(), "steps": table.steps}
        for name, by_step in self.differences.items():
            minus: dict[str, dict[str, list[float]]] = {}
            for t, row in by_step.items():
                minus[t] = {figure: [i.value, i.low, i.high] for figure, i in row.items()}
            methods[name]["minus_first"] = minus
        content = {
            "dataset": self.dataset.name,
            "images": len(self.dataset),
            **asdict(self.simulation),
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
                series[self.recipes[method].title] = (
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
