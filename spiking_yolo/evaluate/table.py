"""The table of an evaluation: a row per method and T, whose views are text, CSV, JSON and plots."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, pairwise
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from spiking_yolo.draw.boxes import colours_of
from spiking_yolo.draw.figure import draw_curves, draw_reference, log_steps, plot
from spiking_yolo.evaluate.scoring import Batches, Scored, Scorer, Settings
from spiking_yolo.io.text import columns, finite, percent, write_csv, write_json
from spiking_yolo.metrics.bootstrap import Interval, Resampling
from spiking_yolo.metrics.costs import CostsByShape, mean_costs
from spiking_yolo.metrics.energy import EVERY_COST_MODEL, SRAM
from spiking_yolo.observe import Observation
from spiking_yolo.spikes.counting import Counts

ANN, ANN_8_BIT = "ANN", "ANN 8 bit"
# Points on the axis of a score: with few images, less than that is hardly known.
SPAN = 10.0
# Operations per MAC that are plotted: slow methods have hardly sent anything at T = 1.
LEAST = 0.01
Curves = dict[str, tuple[Sequence[float], ...]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Row:
    """A network on one dataset, or one video.

    Attributes:
        data: Name of the dataset or video.
        method: ANN, ANN_8_BIT, or the method; with ", reset" where the state starts anew in every
            frame of a video.
        T: Timesteps; None of an ANN.
        scored: Scores; figures are fractions, nan where there is nothing to measure.
        costs: Per image, by column; of videos those of later frames.
        resampling: Resampling of the bootstrap, until all rows are there.
        intervals: Figure -> 95 % interval; also of FIGURE_minus_ann, and FIGURE_minus_first.
    """

    data: str
    method: str
    T: int | None = None
    scored: Scored
    costs: Mapping[str, float] = field(default_factory=dict)
    resampling: Resampling | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)

    @classmethod
    def of(cls, method: str, data: str, scored: Scored, settings: Settings, **own: Any) -> "Row":
        """A row of these scores. own: T and costs."""
        resampling = None
        if scored.resampled and settings.bootstrap:
            resampling = scored.resampled(settings.bootstrap, settings.seed)
        return cls(method=method, data=data, scored=scored, resampling=resampling, **own)

    @property
    def figures(self) -> Mapping[str, float]:
        return self.scored.figures

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
        if self.intervals:
            ends = {name: [one.low, one.high] for name, one in self.intervals.items()}
            content["interval_95"] = ends
        return content


def ann_rows(seen: Batches, scorer: Scorer, model: CostsByShape, settings: Settings) -> list[Row]:
    """Rows of the ANN, and of the ANN with 8 bits if it was observed."""
    every = list(chain(*seen))
    macs = {"macs": _mean([one.macs for one in every])}
    costs: dict[str, float] = {**macs}
    energies = [model(one).ann_energies(one) for one in every]
    for key in energies[0]:
        costs[f"energy_mJ_{key}"] = _mean([one[key] for one in energies])
    scored = scorer.score(seen, predictions_of(seen, "ann"))
    rows = [Row.of(ANN, scorer.name, scored, settings, costs=costs)]
    if seen[0][0].quantised is not None:
        scored = scorer.score(seen, predictions_of(seen, "8 bit"))
        costs = {key: value for key, value in costs.items() if key != "energy_mJ_fp32"}
        rows.append(Row.of(ANN_8_BIT, scorer.name, scored, settings, costs=costs))
    return rows


def _mean(values: Sequence[float]) -> float:
    """The mean; the value itself where all are the same."""
    return values[0] if len(set(values)) == 1 else float(np.mean(values))


def predictions_of(seen: Batches, column: int | str) -> list[list[Any]]:
    """What the network of a column predicted for the images of each batch.

    column: Timesteps, "ann", or "8 bit".
    """
    predictions: list[list[Any]] = []
    for batch in seen:
        if column == "ann":
            predictions.append([one.ann for one in batch])
        elif column == "8 bit":
            predictions.append([one.quantised for one in batch])
        else:
            predictions.append([one.steps[int(column)].prediction for one in batch])
    return predictions


def step_rows(
    method: str, seen: Batches, scorer: Scorer, model: CostsByShape, settings: Settings
) -> list[Row]:
    """Rows of a method at every T."""
    every, images = list(chain(*seen)), costed(seen, scorer)
    rows: list[Row] = []
    for t in every[0].steps:
        costs = mean_costs(images, t, model)
        if scorer.video:
            counting = model(every[0]).counting
            first = [video[0].steps[t].operations[counting] / video[0].macs for video in seen]
            costs["first_sops_per_mac"] = float(np.mean(first))
            costs["output_error"] = float(np.mean([one.steps[t].error for one in every]))
            if every[0].quantised is not None:
                costs["ms"] = 1e3 * float(np.median([one.seconds.network for one in images]))
        scored = scorer.score(seen, predictions_of(seen, t))
        rows.append(Row.of(method, scorer.name, scored, settings, T=t, costs=costs))
    return rows


def costed(seen: Batches, scorer: Scorer) -> list[Observation]:
    """The images whose costs are reported: of videos later frames, since the first one costs what a
    photograph does.
    """
    if scorer.video:
        seen = [video[1:] or video for video in seen]
    return list(chain(*seen))


def with_intervals(rows: Sequence[Row]) -> list[Row]:
    """The rows with 95 % intervals of their figures, of the paired difference from the ANN, and of
    that from the first row with the same T, all on the same draws of images.
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
        facts: What holds for all rows, for results.json.
        methods: What is known of each method, for its results.json.
    """

    rows: Sequence[Row]
    main: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def total(self) -> list[Row]:
        """The rows of all data together."""
        return self.of(self.rows[-1].data)

    def of(self, data: str) -> list[Row]:
        """The rows of a dataset or video."""
        return [row for row in self.rows if row.data == data]

    def text(self) -> str:
        """Tables that fit 100 columns."""
        parts: list[str] = []
        for name in dict.fromkeys(row.data for row in self.rows):
            rows = changing(self.of(name))
            head = name
            if name == self.rows[-1].data:
                head += f", {self.facts['images']} images"
            if macs := rows[0].costs.get("macs"):
                head += f"; percent, operations per MAC ({macs / 1e9:.3g} G), output error"
            parts.append(f"{head}\n{self._figures(rows)}")
            if rows[0].intervals:
                parts.append(self._intervals(rows))
        if self.rows[0].costs:
            widths: list[str] = []
            for name, own in self.methods.items():
                widths.append(f"{own['potential_bits']} bits ({name})")
            note = f"potentials of {', '.join(widths)}"
            parts.append(energy_table(changing(self.total), note))
        if "agree" in self.main:
            parts.append("agree: AP50 by box with the ANN's boxes above 0.25 as truth, all classes")
        return "\n\n".join(parts)

    def _figure(self, rows: Sequence[Row]) -> str:
        """The first figure that these rows have: a video without ground truth has not all."""
        return next(name for name in self.main if name in rows[0].figures)

    def _figures(self, rows: Sequence[Row]) -> str:
        """Scores; operations per MAC in three countings, error of the output."""
        costs = (*(f"sops_per_mac_{counting}" for counting in Counts._fields), "output_error")
        timed = any("ms" in row.costs for row in rows)
        costs = (*costs, "ms") if timed else costs
        lines = [["", *self.main, "minus ANN", *Counts._fields, "error", *["ms"] * timed]]
        figure = self._figure(rows)
        for row in rows:
            cells = [percent(row.figures.get(name, math.nan)) for name in self.main]
            difference = row.figures[figure] - rows[0].figures[figure]
            cells.append("" if row is rows[0] else percent(difference, "+.1f"))
            for name in costs:
                cells.append(f"{row.costs[name]:.3g}" if name in row.costs else "")
            lines.append([row.label, *cells])
        return columns(lines)

    def _intervals(self, rows: Sequence[Row]) -> str:
        figure = self._figure(rows)
        pairs = {"": figure, "minus ANN": f"{figure}_minus_ann"}
        methods = list(dict.fromkeys(row.method for row in rows if row.T is not None))
        if len(methods) > 1:
            pairs[f"minus {methods[0]}"] = f"{figure}_minus_first"
        lines = [[f"{figure}, 95 %", *pairs]]
        for row in rows:
            cells = [row.label]
            for name in pairs.values():
                text = ""
                if one := row.intervals.get(name):
                    value = percent(one.value, ".1f" if name == figure else "+.1f")
                    text = f"{value} [{percent(one.low)}, {percent(one.high)}]"
                cells.append(text)
            lines.append(cells)
        return columns(lines)

    def results(self, method: str) -> dict[str, Any]:
        """The content of a method's results.json; None stands for nothing to measure."""
        total = self.total
        own = [row for row in total if row.method == method]
        content = {**self.facts, **self.methods.get(method, {})}
        content["cost_models"] = list(map(asdict, EVERY_COST_MODEL))
        content["ann"] = total[0].flat()
        content["steps"] = [row.flat() for row in own]
        content["objects_per_class"] = own[0].scored.objects
        content["per_class"] = {row.label: row.scored.per_class for row in (total[0], *own)}
        content["baseline"] = []
        for row in total:
            if row.T is None and row.method != ANN:
                content["baseline"].append({"method": row.method, **row.flat()})
        content["videos"] = []
        for row in self.rows:
            if row.data != total[0].data and row.method in (ANN, method):
                content["videos"].append({"video": row.data, **row.flat()})
        return finite(content)

    def save(self, folder: Path, suffix: str = "png") -> None:
        """Write results.json and neurobench.json for each method, in folders of their names if
        there are several, and then one of all; results.csv, the whole table; at last plots, which
        a full disk may lack.

        suffix: Format of the plots of accuracy, png, pdf or svg.
        """
        methods = dict.fromkeys(row.method for row in self.total if row.T is not None)
        for method in methods or [self.rows[0].method]:
            own = place(folder, method, len(methods))
            write_json(own / "results.json", self.results(method), 1)
            if bench := self.methods.get(method, {}).get("neurobench"):
                write_json(own / "neurobench.json", bench, 1)
        if len(methods) > 1:
            every = {method: self.results(method) for method in methods}
            write_json(folder / "results.json", {"methods": every}, 1)
        lines: list[dict[str, Any]] = []
        for row in self.rows:
            line = {"data": row.data, "method": row.method, **row.flat()}
            for name, ends in line.pop("interval_95", {}).items():
                line |= {f"{name}_low": ends[0], f"{name}_high": ends[1]}
            lines.append(line)
        write_csv(folder / "results.csv", lines, list(dict.fromkeys(chain(*lines[::-1]))))
        self._plot(folder, suffix)

    def _plot(self, folder: Path, suffix: str) -> None:
        """Write accuracy-T and accuracy-operations, a curve per method, no plot of dots; of videos
        with baselines frontier-ms.svg and frontier-mJ.svg.
        """
        if any(row.method.startswith(f"{ANN_8_BIT},") for row in self.total):
            self._draw_frontier(folder / "frontier-ms.svg", "ms", "ms per frame on this machine")
            label = f"mJ per frame ({SRAM.meaning})"
            self._draw_frontier(folder / "frontier-mJ.svg", "energy_mJ_sram", label)
        ann, figure = self.total[0], self.main[0]
        reference = ann.figures[figure]
        over_time: Curves = {}
        over_operations: Curves = {}
        for method in dict.fromkeys(row.method for row in self.total if row.T is not None):
            # A network that has settled is one dot.
            rows = changing([row for row in self.total if row.method == method])
            scores = [100 * row.figures[figure] for row in rows]
            steps = [float(row.T or 0) for row in rows]
            over_time[method] = steps, scores
            if figure in rows[0].intervals:
                intervals = [row.intervals[figure] for row in rows]
                ends = [100 * one.low for one in intervals], [100 * one.high for one in intervals]
                over_time[method] = steps, scores, *ends
            per_mac = [row.costs["sops_per_mac_digits"] for row in rows]
            points = [one for one in zip(per_mac, scores, strict=True) if one[0] >= LEAST]
            if points:
                over_operations[method] = tuple(zip(*points, strict=True))
        colours = colours_of(over_time)
        for name, label, curves in (
            ("accuracy-T", "timesteps T", over_time),
            ("accuracy-operations", "signed digits per MAC of the ANN", over_operations),
        ):
            if math.isnan(reference) or all(len(set(x)) < 2 for x, *_ in curves.values()):
                continue
            with plot(folder / f"{name}.{suffix}", label, f"{figure} (%)") as axes:
                draw_curves(axes, curves, colours)
                draw_reference(axes, ANN, 100 * reference)
                low, high = axes.get_ylim()
                if high - low < SPAN:
                    # Small differences look small.
                    middle = (low + high) / 2
                    axes.set_ylim(middle - SPAN / 2, middle + SPAN / 2)
                log_steps(axes)

    def _draw_frontier(self, path: Path, cost: str, label: str) -> None:
        """Draw accuracy against what a frame costs, joined where the ANN leaves out frames."""
        curves: dict[str, list[tuple[float, float]]] = {}
        for row in self.total:
            x, y = row.costs.get(cost, math.nan), 100 * row.figures[self.main[0]]
            if math.isfinite(x) and math.isfinite(y):
                name = re.sub(r", 1 in \d+", ", fewer frames", row.label)
                curves.setdefault(name, []).append((x, y))
        if curves:
            series = {name: tuple(zip(*sorted(one), strict=True)) for name, one in curves.items()}
            with plot(path, label, f"{self.main[0]} (%)") as axes:
                draw_curves(axes, series)
                log_steps(axes)


def place(folder: Path, method: str, methods: int) -> Path:
    """Where files of a method go: a folder of its own where there are several."""
    return folder / method.replace(", ", "-") if methods > 1 else folder


def changing(rows: Sequence[Row]) -> list[Row]:
    """The rows without those that repeat the step before, of a network that has settled."""
    kept = [rows[0]]
    for before, row in pairwise(rows):
        names = ("output_error", "sops_per_mac_spikes")
        same = all(before.costs.get(name) == row.costs.get(name) for name in names)
        if before.method != row.method or before.figures != row.figures or not same:
            kept.append(row)
    return kept


def energy_table(rows: Sequence[Row], widths: str) -> str:
    """mJ per image under every cost model. widths: How wide potentials are."""
    lines = [["mJ per image", *(cost_model.name for cost_model in EVERY_COST_MODEL)]]
    for row in rows:
        if any(name.startswith("energy_mJ") for name in row.costs):
            keys = [f"energy_mJ_{model.key}" for model in EVERY_COST_MODEL]
            energies = [row.costs.get(key, math.nan) for key in keys]
            cells = ["-" if math.isnan(energy) else f"{energy:.3g}" for energy in energies]
            lines.append([row.label, *cells])
    notes = [f"{model.name}: {model.meaning}" for model in EVERY_COST_MODEL]
    return f"{columns(lines)}\n{fill('; '.join([*notes, widths]), 100)}"
