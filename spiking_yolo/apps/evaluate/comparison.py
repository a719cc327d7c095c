"""Many methods on one network and dataset: one table and one plot, methods x timesteps."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spiking_yolo.apps.evaluate.evaluation import SPAN
from spiking_yolo.apps.evaluate.tables import Intervals, Row, Table
from spiking_yolo.data.classification import LabelledSet
from spiking_yolo.data.detection import DetectionSet
from spiking_yolo.draw import FigureFormat
from spiking_yolo.draw.colours import colours_of
from spiking_yolo.draw.figure import draw_curves, draw_reference, least_height, log_steps, plot
from spiking_yolo.errors import Notice
from spiking_yolo.io.json import write_json
from spiking_yolo.io.tables import columns, percent, write_csv
from spiking_yolo.options import command_line, versions
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.counting import Counts

COMPARISON = "comparison.json"  # what `save` writes last
# Operations per MAC that are plotted: slow methods have hardly sent anything at T = 1.
LEAST = 0.01

# Title of a method -> its points (x, accuracy).
Curves = dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Comparison:
    """Many methods on one network and dataset.

    Attributes:
        dataset: The images.
        recipes: By method.
        tables: By method.
        figure: The one that the printed table and the plots show, such as mAP50.
        differences: Of every method but the first to the first, if there was a bootstrap.
    """

    dataset: DetectionSet | LabelledSet
    recipes: Mapping[str, Recipe]
    tables: Mapping[str, Table]
    figure: str
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

        images = f"{len(self.dataset)} images"
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
        self._plot_time(folder / "accuracy-T.png", figures)
        self._plot_operations(folder / "accuracy-operations.png", figures)
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
            "versions": versions(),
            "command": command_line(),
            "ann": self.ann,
            "methods": methods,
        }
        write_json(folder / COMPARISON, content, indent=1)

    def _plot_time(self, path: Path, figures: FigureFormat = "png") -> None:
        curves: Curves = {}
        for method, table in self.tables.items():
            title = self.recipes[method].title
            curves[title] = [(row["T"], self._accuracy(row)) for row in table.steps]
        self._plot(path, curves, "timesteps T", figures)

    def _plot_operations(self, path: Path, figures: FigureFormat = "png") -> None:
        """Rows with fewer than LEAST operations per MAC are named below the axis."""
        curves: Curves = {}
        left_out: dict[str, list[str]] = {}
        for method, table in self.tables.items():
            title = self.recipes[method].title
            points: list[tuple[float, float]] = []
            early: list[str] = []
            for row in table.steps:
                operations = row["sops_per_image"] / self.ann["macs"]
                if operations >= LEAST:
                    points.append((operations, self._accuracy(row)))
                else:
                    early.append(str(row["T"]))
            if points:
                curves[title] = points
            if early:
                left_out.setdefault(", ".join(early), []).append(title)
        if not curves:
            few = f"no method takes {LEAST:g} operations per MAC of the ANN"
            warnings.warn(Notice(f"{path.name} is left out: {few}"), stacklevel=2)
            return
        parts = [f"T = {times} of {', '.join(titles)}" for times, titles in left_out.items()]
        label = "synaptic operations / ANN multiply-accumulates"
        if parts:
            label += f"\nnot shown, below {LEAST:g}: {'; '.join(parts)}"
        self._plot(path, curves, label, figures)

    def _accuracy(self, row: Row) -> float:
        """In percent."""
        return 100 * row[self.figure]

    def _plot(self, path: Path, curves: Curves, label: str, figures: FigureFormat) -> None:
        """A method has one colour in all plots, also where others have no curve."""
        series = {title: tuple(zip(*curve, strict=True)) for title, curve in curves.items()}
        colours = colours_of(recipe.title for recipe in self.recipes.values())
        with plot(path, label, f"{self.figure} (%)", figures) as axes:
            draw_curves(axes, series, colours)
            draw_reference(axes, "ANN", self._accuracy(self.ann))
            least_height(axes, SPAN)
            log_steps(axes)
