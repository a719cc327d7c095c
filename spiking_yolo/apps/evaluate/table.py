"""The table of an evaluation: a row per method and T, whose views are text, CSV and JSON."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from spiking_yolo.apps.evaluate import EvalOptions
from spiking_yolo.apps.evaluate.costs import NetworkCosts, mean, mean_costs, mean_size
from spiking_yolo.apps.evaluate.scoring import Batches, Scored, Scorer
from spiking_yolo.io.json import columns, finite, percent, write_csv, write_json
from spiking_yolo.metrics.bootstrap import Interval, Resampling
from spiking_yolo.metrics.energy import CostModel, Work
from spiking_yolo.snn.counting import Counts

ANN, ANN_8_BIT = "ANN", "ANN 8 bit"
RESULTS = "results.json"
TABLE = "results.csv"  # what `save` writes last
# Timesteps of a table of classes; more do not fit.
COLUMNS = 8


@dataclass(frozen=True, eq=False, kw_only=True)
class Row:
    """A network on one dataset, or one video.

    Attributes:
        data: Name of the dataset or video.
        method: ANN, ANN_8_BIT, or the method; with ", reset" where the state starts anew in every
            frame of a video.
        T: Timesteps; None of an ANN.
        figures: Scores by name, as fractions, nan where there is nothing to measure.
        costs: Per image, by column; of videos those of later frames.
        per_class: AP or accuracy by class.
        objects: How many objects of a class, or images, that rests on.
        work: What energy is computed from; None of an ANN.
        even: Key of a cost model -> operations per MAC below which T steps take less energy
            than the ANN; negative: never.
        resampling: Resampling of the bootstrap, until all rows are there.
        intervals: Figure -> 95 % interval; also of FIGURE_minus_ann, and FIGURE_minus_first.
    """

    data: str
    method: str
    T: int | None = None
    figures: Mapping[str, float]
    costs: Mapping[str, float] = field(default_factory=dict)
    per_class: Mapping[str, float] = field(default_factory=dict)
    objects: Mapping[str, int] = field(default_factory=dict)
    work: Work | None = None
    even: Mapping[str, float] = field(default_factory=dict)
    resampling: Resampling | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)

    @classmethod
    def of(cls, method: str, data: str, scored: Scored, options: EvalOptions, **own: Any) -> "Row":
        """A row of these scores. own: other attributes."""
        resampling = None
        if scored.resampled and options.bootstrap:
            resampling = scored.resampled(options.bootstrap, options.seed)
        return cls(
            data=data,
            method=method,
            figures=scored.figures,
            per_class=scored.per_class,
            objects=scored.objects,
            resampling=resampling,
            **own,
        )

    @property
    def label(self) -> str:
        """What it is called in a table."""
        return self.method if self.T is None else f"{self.method} T={self.T}"

    def flat(self) -> dict[str, Any]:
        """Its figures and costs, with an interval as a list of two."""
        content: dict[str, Any] = {}
        if self.T is not None:
            content["T"] = self.T
        content |= {**self.figures, **self.costs}
        ends: dict[str, list[float]] = {}
        for name, interval in self.intervals.items():
            ends[name] = [interval.low, interval.high]
        if ends:
            content["interval_95"] = ends
        return content


def ann_rows(seen: Batches, scorer: Scorer, model: NetworkCosts, options: EvalOptions) -> list[Row]:
    """Rows of the ANN, and of the ANN with 8 bits if it was observed."""
    size = mean_size(list(chain(*seen)), model)
    costs = {"macs": size.macs}
    for cost_model in options.cost_models:
        costs[cost_model.energy] = cost_model.ann(size)
    scored = scorer.score(seen, predictions_of(seen, "ann"))
    rows = [Row.of(ANN, scorer.name, scored, options, costs=costs)]
    if seen[0][0].quantised:
        scored = scorer.score(seen, predictions_of(seen, "8 bit"))
        rows.append(Row.of(ANN_8_BIT, scorer.name, scored, options, costs={"macs": size.macs}))
    return rows


def predictions_of(seen: Batches, column: int | str) -> list[list[Any]]:
    """What the network of a column predicted for the images of each batch.

    column: Timesteps, "ann", or "8 bit".
    """
    predictions: list[list[Any]] = []
    for batch in seen:
        own: list[Any] = []
        for one in batch:
            if column == "ann":
                own.append(one.ann)
            elif column == "8 bit":
                own.append(one.quantised[8])
            else:
                own.append(one.steps[int(column)].prediction)
        predictions.append(own)
    return predictions


def step_rows(
    method: str, seen: Batches, scorer: Scorer, model: NetworkCosts, options: EvalOptions
) -> list[Row]:
    """Rows of a method at every T."""
    images = list(chain(*seen))
    size = mean_size(images, model)
    if scorer.video:
        # Later frames; the first one of a video costs what a photograph does.
        images = list(chain(*(video[1:] or video for video in seen)))
    rows: list[Row] = []
    for t in images[0].steps:
        costs, work = mean_costs(images, t, model, size)
        if scorer.video:
            first = [video[0].steps[t].operations[model.counting] for video in seen]
            costs["first_sops_per_mac"] = mean(first) / size.macs
            errors = [one.steps[t].error for one in chain(*seen)]
            costs["output_error"] = mean(errors)
        even: dict[str, float] = {}
        for cost_model in options.cost_models:
            costs[cost_model.energy] = cost_model.snn(work, size)
            if not math.isnan(cost_model.ann(size)):
                even[cost_model.key] = cost_model.break_even(work, size)
        scored = scorer.score(seen, predictions_of(seen, t))
        own = {"T": t, "costs": costs, "work": work, "even": even}
        rows.append(Row.of(method, scorer.name, scored, options, **own))
    return rows


def with_intervals(rows: Sequence[Row]) -> list[Row]:
    """The rows with 95 % intervals of their figures, of the paired difference to the ANN, and of
    that to the first row with the same T, all on the same draws of images.
    """
    anns: dict[str, Resampling] = {}
    firsts: dict[tuple[str, int], Resampling] = {}
    result: list[Row] = []
    for row in rows:
        own = row.resampling
        if own is None:
            result.append(row)
            continue
        intervals = own.intervals()
        ann = anns.setdefault(row.data, own)
        if ann is not own:
            for name, interval in (own - ann).intervals().items():
                intervals[f"{name}_minus_ann"] = interval
        if row.T is not None:
            first = firsts.setdefault((row.data, row.T), own)
            if first is not own:
                for name, interval in (own - first).intervals().items():
                    intervals[f"{name}_minus_first"] = interval
        result.append(replace(row, resampling=None, intervals=intervals))
    return result


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of one evaluation.

    Attributes:
        rows: By data, then ANN, then methods in their order, T ascending.
        main: Figures that are printed; the first is plotted.
        cost_models: Models of energy.
        facts: What holds for all rows, for results.json.
        methods: What is known of each method, for its results.json.
    """

    rows: Sequence[Row]
    main: tuple[str, ...]
    cost_models: Sequence[CostModel]
    facts: Mapping[str, Any] = field(default_factory=dict)
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def total(self) -> list[Row]:
        """The rows of all data together."""
        return self.of(self.rows[-1].data)

    def of(self, data: str) -> list[Row]:
        """The rows of a dataset or video."""
        return [row for row in self.rows if row.data == data]

    def text(self, per_class: bool = False) -> str:
        """Tables that fit 100 columns."""
        parts: list[str] = []
        for name in dict.fromkeys(row.data for row in self.rows):
            rows = self.of(name)
            rows = settled(rows, self._figure(rows))
            macs = rows[0].costs.get("macs")
            head = name
            if name == self.rows[-1].data:
                head += f", {self.facts['images']} images"
            if macs:
                head += f"; percent, operations per MAC ({macs / 1e9:.3g} G), output error"
            parts.append(f"{head}\n{self._figures(rows)}")
            if rows[0].intervals:
                parts.append(self._intervals(rows))
        rows = settled(self.total, self._figure(self.total))
        if rows[-1].work:
            parts.append(self._energy(rows))
        else:
            parts.append(figure_table(rows))
        for method, facts in self.methods.items():
            if "remark" in facts:
                parts.append(f"{method}: {facts['remark']}")
        if per_class and rows[0].per_class:
            parts.append(class_table(rows))
        return "\n\n".join(parts)

    def _figure(self, rows: Sequence[Row]) -> str:
        """The first figure that these rows have: a video without ground truth has not all."""
        return next(name for name in self.main if name in rows[0].figures)

    def _figures(self, rows: Sequence[Row]) -> str:
        """Scores; operations per MAC in three countings, error of the output."""
        lines = [["", *self.main, "minus ANN", *Counts._fields, "error"]]
        figure = self._figure(rows)
        for row in rows:
            cells = [row.label]
            for name in self.main:
                cells.append(percent(row.figures.get(name, math.nan)))
            minus = ""
            if row is not rows[0]:
                minus = percent(row.figures[figure] - rows[0].figures[figure], "+.1f")
            cells.append(minus)
            if row.work:
                for counting in Counts._fields:
                    cells.append(f"{row.costs[f'sops_per_mac_{counting}']:.3g}")
                cells.append(f"{row.costs['output_error']:.3g}")
            else:
                cells += [""] * (len(Counts._fields) + 1)
            lines.append(cells)
        return columns(lines)

    def _intervals(self, rows: Sequence[Row]) -> str:
        figure = self._figure(rows)
        pairs = {"": figure, "minus ANN": f"{figure}_minus_ann"}
        for row in rows:
            if row.work:
                pairs[f"minus {row.method}"] = f"{figure}_minus_first"
                break
        lines = [[f"{figure}, 95 %", *pairs]]
        for row in rows:
            cells = [row.label]
            for name in pairs.values():
                one = row.intervals.get(name)
                text = ""
                if one:
                    sign = "+" * (name != figure)
                    value = percent(one.value, f"{sign}.1f")
                    text = f"{value} [{percent(one.low)}, {percent(one.high)}]"
                cells.append(text)
            lines.append(cells)
        return columns(lines)

    def _energy(self, rows: Sequence[Row]) -> str:
        """mJ per image under every cost model; where there is a row of the 8-bit ANN, also below
        how many operations per MAC the last step of each method takes less.
        """
        lines = [["mJ per image"]]
        lines[0] += [cost_model.name for cost_model in self.cost_models]
        last: dict[str, Row] = {}
        for row in rows:
            if row.work:
                last[row.method] = row
            if row.method != ANN_8_BIT:
                energies = [row.costs[cost_model.energy] for cost_model in self.cost_models]
                lines.append([row.label, *map(_number, energies)])
        if ANN_8_BIT in (row.method for row in rows):
            for row in last.values():
                cells = [f"even at /MAC, {row.method}"]
                for cost_model in self.cost_models:
                    cells.append(_number(row.even.get(cost_model.key, math.nan)))
                lines.append(cells)
        return columns(lines)

    def results(self, method: str) -> dict[str, Any]:
        """The content of a method's results.json; None stands for nothing to measure."""
        total = self.total
        own = [row for row in total if row.method == method]
        content = {**self.facts, **self.methods.get(method, {})}
        content["cost_models"] = list(map(asdict, self.cost_models))
        content["ann"] = total[0].flat()
        content["steps"] = [row.flat() for row in own]
        content["objects_per_class"] = own[0].objects
        content["per_class"] = {row.label: row.per_class for row in (total[0], *own)}
        content["videos"] = []
        for row in self.rows:
            if row.data == total[0].data and row.method == ANN_8_BIT:
                content["baseline"] = [{"bits": 8, **row.flat()}]
                content["break_even"] = own[-1].even
            if row.data != total[0].data and row.method in (ANN, method):
                content["videos"].append({"video": row.data, **row.flat()})
        return finite(content)

    def save(self, folder: Path) -> None:
        """Write a results.json for each method, in folders of their names if there are several, and
        last results.csv, the whole table.
        """
        methods: dict[str, None] = {}
        for row in self.total:
            if row.work or len(self.rows) == 1:
                methods[row.method] = None
        for method in methods:
            write_json(place(folder, method, methods) / RESULTS, self.results(method), 1)
        lines: list[dict[str, Any]] = []
        for row in self.rows:
            line = {"data": row.data, "method": row.method, **row.flat()}
            for name, ends in line.pop("interval_95", {}).items():
                line |= {f"{name}_low": ends[0], f"{name}_high": ends[1]}
            lines.append(line)
        write_csv(folder / TABLE, lines, list(dict.fromkeys(chain(*lines[::-1]))))


def place(folder: Path, method: str, methods: Collection[str]) -> Path:
    """Where files of a method go: a folder of its own where there are several."""
    return folder / method.replace(", ", "-") if len(methods) > 1 else folder


def settled(rows: Sequence[Row], figure: str) -> list[Row]:
    """The rows without those of steps that have accuracy, error and operations of the one before
    them and of all that follow.
    """
    last: dict[str, tuple[float, ...]] = {}
    for row in rows:
        last[row.method] = _state(row, figure)
    kept: list[Row] = []
    done: set[str] = set()
    for row in rows:
        if row.method not in done:
            kept.append(row)
        if row.work and _state(row, figure) == last[row.method]:
            done.add(row.method)
    return kept


def _state(row: Row, figure: str) -> tuple[float, ...]:
    names = ("output_error", "sops_per_mac_spikes")
    return (row.figures[figure], *(row.costs.get(name, 0.0) for name in names))


def figure_table(rows: Sequence[Row]) -> str:
    """All figures of a few rows, one per line."""
    lines = [["percent"], *([name] for name in rows[0].figures)]
    for row in rows:
        lines[0].append(row.label)
        for line in lines[1:]:
            line.append(percent(row.figures[line[0]]))
    return columns(lines)


def class_table(rows: Sequence[Row]) -> str:
    """AP or accuracy of every class that has objects, in percent, and how many; the last columns
    where not all fit the width.
    """
    chosen = [rows[0], *rows[1:][-COLUMNS:]]
    lines = [["class", "n"]]
    for row in chosen:
        title = row.method
        if row.T:
            title = f"T={row.T}"
        lines[0].append(title)
    for name, objects in rows[0].objects.items():
        if name in rows[0].per_class:
            cells = [percent(row.per_class[name]) for row in chosen]
            lines.append([name, str(objects), *cells])
    return columns(lines)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"
