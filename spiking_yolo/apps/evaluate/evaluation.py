"""The result of an evaluation: its plots, what is printed of it, and its files."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from spiking_yolo.apps.evaluate import EvaluationOptions
from spiking_yolo.apps.evaluate.costs import CostModel
from spiking_yolo.apps.evaluate.records import ImageRecord
from spiking_yolo.apps.evaluate.scoring import Scorer
from spiking_yolo.apps.evaluate.tables import (
    NOTE,
    BreakEven,
    Intervals,
    Row,
    Table,
    break_even,
    class_table,
    energy_table,
    interval_table,
    main_table,
    neurobench_table,
    resamplings,
    row_intervals,
    seconds_per_image,
    table,
)
from spiking_yolo.convert.converted import Converted
from spiking_yolo.data.classification import LabelledSet
from spiking_yolo.data.detection import DetectionSet
from spiking_yolo.draw import FigureFormat
from spiking_yolo.draw.colours import ACCOUNT_COLOURS
from spiking_yolo.draw.figure import (
    REFERENCE,
    draw_curves,
    draw_reference,
    least_height,
    line_plot,
    log_steps,
    plot,
)
from spiking_yolo.io.json import finite, write_json
from spiking_yolo.io.tables import percent, write_csv
from spiking_yolo.metrics.bootstrap import Resampling
from spiking_yolo.metrics.energy import Account
from spiking_yolo.options import command_line, versions
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.plan import layers_before

CURVES, CLASSES = 6, 40  # more do not fit
_MOVED = 0.05  # points; less is shown as 0.0
# Points on the axis of a score: with few images, less than that is hardly known.
SPAN = 10.0


def plot_all(
    table: Table,
    scorer: Scorer,
    method: str,
    folder: Path,
    intervals: Intervals | None = None,
    figures: FigureFormat = "png",
) -> None:
    """mAP-T.png, mAP-operations.png, precision-recall.png and class-change.png; pictures without
    content are left out.

    scorer: says which figure is plotted and how its pictures are called. intervals: drawn as a
    band. figures: a second format of every picture.
    """
    figure = scorer.main[0]
    name, measure = scorer.names
    if not math.isnan(table.ann[figure]):
        _plot_figure(table, figure, method, folder / name, intervals or {}, figures)
    curves = {"ANN": table.scored["ann"].curve}
    early = [str(row["T"]) for row in table.steps[:-CURVES]]
    for row in table.steps[-CURVES:]:
        curves[f"T = {row['T']}"] = table.scored[str(row["T"])].curve
    series = {title: curve for title, curve in curves.items() if curve is not None}
    if series:
        path = folder / "precision-recall.png"
        xlabel = "recall"
        if early:
            xlabel += f"\nnot shown: T = {', '.join(early)}"
        line_plot(path, series, xlabel, "precision, mean over classes", figures)
    _class_change(table, folder / "class-change.png", measure, figures)


def _plot_figure(
    table: Table, figure: str, method: str, stem: Path, intervals: Intervals, figures: FigureFormat
) -> None:
    """A figure against time and against operations."""
    ann = 100 * table.ann[figure]
    y = [100 * row[figure] for row in table.steps]
    of_ann = intervals.get("ann", {}).get(figure)
    span = (100 * of_ann.low, 100 * of_ann.high) if of_ann else None
    T = [row["T"] for row in table.steps]
    path = stem.with_name(f"{stem.name}-T.png")
    with plot(path, "timesteps T", f"{figure} (%)", figures) as axes:
        draw_curves(axes, {method: (T, y, *_band(table, figure, intervals))})
        draw_reference(axes, "ANN", ann, span)
        least_height(axes, SPAN)
        log_steps(axes, T)
    path = stem.with_name(f"{stem.name}-operations.png")
    with plot(path, "synaptic operations per image (10⁹)", f"{figure} (%)", figures) as axes:
        draw_curves(axes, {method: ([row["sops_per_image"] / 1e9 for row in table.steps], y)})
        macs = table.ann["macs"] / 1e9
        axes.plot(macs, ann, "p", ms=8, color=REFERENCE, label="ANN, multiply-accumulates")
        least_height(axes, SPAN)


def plot_energy(
    table: Table,
    accounts: Sequence[Account],
    worth: Sequence[BreakEven],
    path: Path,
    figures: FigureFormat = "png",
) -> None:
    """Energy as a multiple of the ANN's against operations per MAC, a curve per account."""
    series: dict[str, tuple[tuple[float, ...], ...]] = {}
    for account in accounts:
        if math.isnan(table.ann[account.energy]):
            continue
        ann = table.ann[account.energy]
        points: list[tuple[float, float]] = []
        for row in table.steps:
            points.append((row["effective_ACs"] / table.size.macs, row[account.energy] / ann))
        curve = sorted(point for point in points if point[0] > 0)
        if curve:
            series[account.name] = tuple(zip(*curve, strict=True))
    label = "synaptic operations / ANN multiply-accumulates"
    with plot(path, label, "energy / energy of the ANN", figures) as axes:
        draw_curves(axes, series, ACCOUNT_COLOURS)
        draw_reference(axes, "ANN", 1.0)
        log_steps(axes)
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter("{x:g}")


def _band(table: Table, figure: str, intervals: Intervals) -> tuple[list[float], ...]:
    """The ends of the intervals of all steps, none if one of them lacks its own."""
    low: list[float] = []
    high: list[float] = []
    for row in table.steps:
        interval = intervals.get(str(row["T"]), {}).get(figure)
        if interval is None:
            return ()
        low.append(100 * interval.low)
        high.append(100 * interval.high)
    return low, high


def _class_change(table: Table, path: Path, measure: str, figures: FigureFormat) -> None:
    """`measure` of the last step minus the ANN's; of many classes those that change most, and how
    many others.

    n: of its objects, or images.
    """
    last = table.steps[-1]["T"]
    ann = table.scored["ann"].per_class
    snn = table.scored[str(last)].per_class
    change: dict[str, float] = {}
    for name in ann:
        difference = 100 * (snn[name] - ann[name])
        if not math.isnan(difference):
            change[name] = difference
    moved = [name for name in change if abs(change[name]) >= _MOVED]
    moved.sort(key=lambda name: -abs(change[name]))
    chosen = sorted(moved[:CLASSES], key=lambda name: change[name])
    if not chosen:
        return
    n = table.scored["ann"].objects
    others: list[str] = []
    if len(change) > len(moved):
        others.append(f"{len(change) - len(moved)} classes do not change")
    if len(moved) > len(chosen):
        others.append(f"{len(moved) - len(chosen)} others change less than these")
    label = f"{measure} at T = {last} minus the ANN's, points"
    if others:
        label += f"\n{'; '.join(others)}"
    bars = {f"{name} (n = {n[name]})": change[name] for name in chosen}
    with plot(path, label, "", figures, (4.6, max(1.6, 0.22 * len(bars) + 0.9))) as axes:
        rectangles = axes.barh(list(bars), list(bars.values()), 0.75)
        axes.bar_label(rectangles, fmt="{:+.1f}", padding=2, fontsize=7)
        axes.axvline(0, color=REFERENCE, linewidth=0.8)
        axes.invert_yaxis()
        axes.margins(x=0.15)


# Accounts of energy: floats as most papers have them, then 8 bit without memory and with all of it.
IN_SUMMARY = ("fp32", "int8", "sram16")
RESULTS = "results.json"  # what `save` writes last


def until_settled(steps: Sequence[Row], figure: str) -> Sequence[Row]:
    """The rows up to the first that has accuracy, error and operations of the last one."""
    names = (figure, "output_error", "sops_per_mac_spikes")
    figures = [[row[name] for name in names] for row in steps]
    return steps[: figures.index(figures[-1]) + 1]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A converted network on a dataset. Figures are fractions, nan if they cannot be measured.

    Attributes:
        network: The converted network.
        dataset: The images that were evaluated.
        of_images: Images of the whole dataset, of which `dataset` may be a part.
        scorer: How predictions were scored.
        accounts: Of energy.
        seed: Drew the images of a part of the dataset, and the bootstrap.
        records: One per image.
        table: One row per timestep, and of the ANN.
        resamplings: By row, if the options ask for a bootstrap.
        intervals: Their 95 % intervals.
        worth: Where the spiking network uses less energy than the ANN, if there is a quantised ANN
            to compare with.
    """

    network: Converted
    dataset: DetectionSet | LabelledSet
    of_images: int
    scorer: Scorer
    accounts: Sequence[Account]
    seed: int
    records: Sequence[ImageRecord]
    table: Table
    resamplings: Mapping[str, Resampling]
    intervals: Intervals
    worth: Sequence[BreakEven]

    @classmethod
    def of(
        cls,
        records: Sequence[ImageRecord],
        network: Converted,
        dataset: DetectionSet | LabelledSet,
        scorer: Scorer,
        options: EvaluationOptions = EvaluationOptions(),
        of_images: int | None = None,
    ) -> "Evaluation":
        """Score the records of all images of the dataset."""
        remark = network.recipe.remark
        rows = table(records, scorer, CostModel.of(network), options.accounts, remark)
        by_row: dict[str, Resampling] = {}
        if options.bootstrap:
            by_row = resamplings(rows, options.bootstrap, options.seed)
        return cls(
            network=network,
            dataset=dataset,
            of_images=len(dataset) if of_images is None else of_images,
            scorer=scorer,
            accounts=options.accounts,
            seed=options.seed,
            records=records,
            table=rows,
            resamplings=by_row,
            intervals=row_intervals(by_row),
            worth=break_even(rows, options.accounts) if rows.baseline else [],
        )

    def summary(self, per_class: bool = False) -> str:
        """Three lines: accuracy at the timesteps until it has settled, and what the last one costs.

        per_class: the accuracy of every class too.
        """
        rows, figure = self.table, self.scorer.main[0]
        shown = until_settled(rows.steps, figure)
        T, last = shown[-1]["T"], shown[-1]
        method = self.network.recipe.title
        scores = ", ".join(percent(row[figure]) for row in shown)
        steps = ",".join(str(row["T"]) for row in shown)
        if len(shown) < len(rows.steps):
            steps += " and later"
        ann = f"ANN {percent(rows.ann[figure])}"
        for row in rows.baseline:
            ann += f", {row['bits']} bit {percent(row[figure])}"
        difference = f"minus ANN {percent(last[figure] - rows.ann[figure], '+.1f')}"
        interval = self.intervals.get(str(T), {}).get(f"{figure}_minus_ann")
        if interval:
            difference += f" [{percent(interval.low)}, {percent(interval.high)}]"
        counts = ", ".join(
            f"{last[f'sops_per_mac_{counting}']:.3g} {counting}" for counting in Counts._fields
        )
        energy = [
            f"{account.name}: {last[account.energy]:.3g} / {rows.ann[account.energy]:.3g}"
            for account in self.accounts
            if account.key in IN_SUMMARY
        ]
        lines = [
            f"{self.dataset.name}, {len(self.dataset)} images, {method}: {figure} {scores} % at"
            f" T={steps}; {ann}; {difference}",
            f"T={T}: {counts} per MAC; output error {last['output_error']:.3f};"
            f" {seconds_per_image(self.records):.3g} s per image",
            f"mJ per image, SNN / ANN: {'; '.join(energy)}",
        ]
        if rows.exit:
            lines.append(self._early_exit(rows.exit))
        if per_class:
            lines.append(f"\n{class_table(rows)}")
        return "\n".join(lines)

    def text(self, per_class: bool = False) -> str:
        """Tables that fit 100 columns, and what they rest on.

        per_class: the accuracy of every class too.
        """
        figures, rows = self.scorer.main, self.table
        images = f"{self.dataset.name}, {len(self.dataset)} images"
        method = self.network.recipe.title
        lines = [
            f"{images}, method {method}; figures in percent",
            main_table(rows, figures),
            self._latency(),
        ]
        if rows.exit:
            lines.append(self._early_exit(rows.exit))
        if "products_share" in rows.steps[0]:
            shares = [f"{percent(row['products_share'])} % at T={row['T']}" for row in rows.steps]
            lines.append(f"products of attention, of the operations: {', '.join(shares)}")
        lines.append(f"\n{energy_table(rows, self.accounts, self.worth)}")
        lines += [NOTE, f"\n{neurobench_table(rows)}"]
        if self.intervals:
            lines.append(f"\n{interval_table(self.intervals, figures[0])}")
        if per_class:
            lines.append(f"\n{class_table(rows)}")
        lines.append(f"\n{seconds_per_image(self.records):.3g} s per image")
        return "\n".join(lines)

    def _early_exit(self, row: Row) -> str:
        figure, T = self.scorer.main[0], self.table.steps[-1]["T"]
        share, saving = percent(row[f"{figure}_kept"]), percent(row["operations_saved"])
        return (
            f"early exit keeps {share} % of {figure} at T={T} and saves {saving} % of"
            " the operations"
        )

    def _latency(self) -> str:
        recipe = self.network.recipe
        layers = 1 + max(layers_before(self.network.graph).values())
        T = self.table.steps[-1]["T"]
        together, pipelined = recipe.latency(T, layers)
        return (
            f"a neuron sends at most {recipe.events_per_step} events per step; one at a time, T={T}"
            f" takes {together} sub-steps\nif all layers work at once, or {pipelined} in a pipeline"
            f" of {layers} layers"
        )

    def save(self, folder: Path, figures: FigureFormat = "png") -> None:
        """Write instances.json (what was scored, unless it is COCO's own file),
        predictions_ann.json and predictions_T.json per step (boxes in COCO's results format),
        results.csv, plots (as .png and in the format `figures`) and, last, results.json.
        """
        if isinstance(self.dataset, DetectionSet) and not self.dataset.has_ids:
            write_json(folder / "instances.json", self.dataset.as_coco().annotations)
        ann = [record.ann for record in self.records]
        write_json(folder / "predictions_ann.json", self.scorer.rows(ann))
        for t in self.records[0].steps:
            predictions = [record.steps[t].prediction for record in self.records]
            write_json(folder / f"predictions_{t}.json", self.scorer.rows(predictions))
        rows = [{"row": title, **row} for title, _, row in self._rows()]
        write_csv(
            folder / "results.csv",
            rows,
            list(dict.fromkeys(name for row in rows[::-1] for name in row)),
        )
        method = self.network.recipe.title
        plot_all(self.table, self.scorer, method, folder, self.intervals, figures)
        if self.worth:
            path = folder / "energy-operations.png"
            plot_energy(self.table, self.accounts, self.worth, path, figures)
        write_json(folder / RESULTS, self.results(), indent=1)

    def results(self) -> dict[str, Any]:
        """The content of results.json; None stands for nothing to measure."""
        table = self.table
        rows = {name: row | self._interval(name) for _, name, row in self._rows()}
        content = {
            "dataset": self.dataset.name,
            "images": len(self.dataset),
            "of_images": self.of_images,
            "seed": self.seed,
            "notes": self.dataset.notes,
            "imgsz": [self.network.spec.height, self.network.spec.width],
            "weights": self.network.provenance.get("weights"),
            "weights_sha256": self.network.provenance.get("weights_sha256"),
            "command": command_line(),
            "date": date.today().isoformat(),
            **self.network.recipe.facts(),
            "versions": versions(),
            "events_per_step": self.network.recipe.events_per_step,
            "accounts": [asdict(account) for account in self.accounts],
            "ann": rows["ann"],
            "steps": [rows[str(row["T"])] for row in table.steps],
            "measure_per_class": self.scorer.names[1],
            "objects_per_class": table.scored["ann"].objects,
            "per_class": {
                name: scored.per_class for name, scored in table.scored.items() if scored.per_class
            },
        }
        if table.baseline:
            content["baseline"] = [rows[f"{row['bits']} bit"] for row in table.baseline]
            content["break_even"] = [asdict(one) for one in self.worth]
        if table.exit:
            content["early_exit"] = rows["exit"]
        return finite({**content, "seconds_per_image": seconds_per_image(self.records)})

    def _interval(self, name: str) -> Row:
        intervals = self.intervals.get(name)
        return (
            {"interval_95": {figure: [i.low, i.high] for figure, i in intervals.items()}}
            if intervals
            else {}
        )

    def _rows(self) -> list[tuple[str, str, Row]]:
        """Title, name in `table.scored`, and row."""
        rows = [("ann", "ann", self.table.ann)]
        rows += [
            (f"ann {row['bits']} bit", f"{row['bits']} bit", row) for row in self.table.baseline
        ]
        rows += [(f"T={row['T']}", str(row["T"]), row) for row in self.table.steps]
        return rows + ([("early exit", "exit", self.table.exit)] if self.table.exit else [])
