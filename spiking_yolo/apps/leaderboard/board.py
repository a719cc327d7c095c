"""A leaderboard: its rows, what is printed of it, and its files."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from spiking_yolo.apps.leaderboard.published import LEVELS, Published
from spiking_yolo.apps.leaderboard.results import COUNTINGS, Key, Run, Score, Step, best_rows
from spiking_yolo.draw import FigureFormat
from spiking_yolo.io.files import atomic_write
from spiking_yolo.io.json import write_json
from spiking_yolo.io.tables import columns, percent

GIGA = 1e9
UNKNOWN = "unknown"
LEVEL_TEXTS = {
    "paper": "read in the paper",
    "abstract": "read in its abstract only",
    "code": "read in the authors' files or logs",
    "thread": "from a user's thread",
    "cited": "as another paper or project quotes it, not checked at its source",
}


@dataclass(frozen=True)
class Row:
    """A row of a leaderboard: a network with a method after T steps, and the run that measured it.

    Attributes:
        key: Dataset, network, input size, method and T.
        run: Where it comes from.
        step: Its figures.
    """

    key: Key
    run: Run
    step: Step

    @property
    def method(self) -> str:
        """Its name, with the remark."""
        remark = self.run.remark
        return f"{self.run.method} ({remark})" if remark else self.run.method

    @property
    def minus_ann(self) -> float:
        """AP50 minus the ANN's, on the same images; nan where there is no ANN."""
        if self.run.ann is None:
            return math.nan
        return self.step.score.ap50 - self.run.ann.ap50

    def facts(self) -> dict[str, Any]:
        """Of JSON's types: fractions, and operations per image."""
        run, step = self.run, self.step
        return {
            **self.key._asdict(),
            "remark": run.remark,
            "n": run.n,
            "seed": run.seed,
            "date": run.day,
            "weights_sha256": run.sha256,
            **asdict(step.score),
            "ann": run.ann and asdict(run.ann),
            "macs": run.macs,
            "minus_ann": self.minus_ann,
            "minus_ann_95": step.interval,
            "operations": dict(step.operations),
        }


@dataclass(frozen=True)
class Leaderboard:
    """Measured rows, best first within their dataset, and published detectors.

    Attributes:
        rows: By dataset and rule, then AP50, then operations.
        published: As they were published, by dataset and AP50.
        counting: In which operations are compared.
        files: How many results were read.
    """

    rows: Sequence[Row]
    published: Sequence[Published]
    counting: str
    files: int

    @classmethod
    def of(
        cls, runs: Sequence[Run], published: Sequence[Published], counting: str
    ) -> "Leaderboard":
        """The best row of each key. Raises UserError for runs that contradict each other."""

        def order(row: Row) -> tuple[Any, ...]:
            operations = row.step.operations[counting]
            return row.key[:2], -row.step.score.ap50, operations, row.key

        def published_order(one: Published) -> tuple[Any, ...]:
            return one.dataset, -(one.ap50 or 0), -(one.ap or 0), one.name

        best = best_rows(runs).items()
        rows = [Row(key, run, step) for key, (run, step) in best if not run.had_before(step)]
        rows.sort(key=order)
        return cls(rows, sorted(published, key=published_order), counting, len(runs))

    @property
    def datasets(self) -> dict[tuple[str, str], list[Row]]:
        """The rows by dataset and rule."""
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row.key.dataset, row.key.rule), []).append(row)
        return groups

    def text(self) -> str:
        """What a terminal shows: a table per dataset, and what marked methods are."""
        parts: list[str] = []
        head = ["method", "network", "size", "T", "n", "AP50", "minus ANN", f"G {self.counting}"]
        for (dataset, rule), rows in self.datasets.items():
            lines = [head]
            for row in rows:
                key = row.key
                lines.append(
                    [
                        f"{key.method}*" if row.run.remark else key.method,
                        key.network,
                        key.size,
                        str(key.T),
                        str(row.run.n),
                        percent(row.step.score.ap50),
                        percent(row.minus_ann, "+.1f"),
                        giga(row.step.operations[self.counting]),
                    ]
                )
            parts.append(f"{dataset}, {rule}'s rule; figures in percent\n{columns(lines)}\n")
        remarks = {row.run.method: row.run.remark for row in self.rows if row.run.remark}
        parts += [f"* {method}: {remarks[method]}" for method in sorted(remarks)]
        return "\n".join(parts)

    def save(self, folder: Path, figures: FigureFormat = "png") -> None:
        """Write leaderboard.png, leaderboard.md and, last, leaderboard.json.

        figures: a second format of the picture.
        """
        from spiking_yolo.apps.leaderboard.figure import draw

        draw(self, folder / "leaderboard.png", figures)
        with atomic_write(folder / "leaderboard.md") as temporary:
            temporary.write_text(self.markdown(), encoding="utf-8")
        content = {
            "counting": self.counting,
            "rows": [row.facts() for row in self.rows],
            "published": [asdict(one) for one in self.published],
        }
        write_json(folder / "leaderboard.json", content, indent=1)

    def markdown(self) -> str:
        """A page with the picture and all tables."""
        parts = [
            "# Leaderboard",
            f"Made by `spiking-yolo leaderboard` of {self.files} results. Of several results of one"
            " dataset, network, input size, method and T, the one with the most images counts, then"
            " the latest. Operations are synaptic operations per image, counted in the same way for"
            " every measured row: bursts as single spikes, as signed digits, or as one message. AP"
            " of rows with other images or another n is not comparable; the difference to the ANN"
            " on the same images is.",
            "![AP50 against operations per image](leaderboard.png)",
        ]
        for (dataset, rule), rows in self.datasets.items():
            parts += [f"## {cell(dataset)}, by {rule}'s rule", measured_table(rows)]
            if ann_runs(rows):
                parts += ["The networks before conversion:", ann_table(rows)]
        levels = "; ".join(f"{level}: {LEVEL_TEXTS[level]}" for level in LEVELS)
        parts += [
            "## As published",
            "These figures were not measured here, nor on the same images, and operations stand"
            " here only where their authors give a number; those were not recounted. Where a"
            f" figure was read: {levels}.",
            published_table(self.published),
        ]
        return "\n\n".join(parts) + "\n"


def giga(operations: float) -> str:
    """Operations in 10⁹, to three digits."""
    return f"{operations / GIGA:.3g}"


def cell(text: str) -> str:
    """Text of a file in a cell of a table, where it stays text."""
    return escape(text, quote=False).replace("|", "\\|")


def measured_table(rows: Sequence[Row]) -> str:
    """AP, the difference to the ANN with its interval, and operations in every counting."""
    head = ["method", "network", "size", "T", "AP50", "AP50-95", "minus ANN [95 %]"]
    head += [*(f"G {counting}" for counting in COUNTINGS), "n", "seed", "date"]
    lines = [head]
    for row in rows:
        run, step = row.run, row.step
        difference = percent(row.minus_ann, "+.1f")
        if step.interval:
            low, high = step.interval
            difference += f" [{percent(low, '+.1f')}, {percent(high, '+.1f')}]"
        cells = [cell(row.method), cell(run.network), run.size, str(step.T)]
        cells += [percent(step.score.ap50), percent(step.score.ap), difference]
        cells += [giga(step.operations[counting]) for counting in COUNTINGS]
        lines.append([*cells, str(run.n), str(run.seed), run.day])
    return markdown_table(lines)


def ann_table(rows: Sequence[Row]) -> str:
    """The ANN of every network and size, on as many images as its best row has."""
    lines = [["network", "size", "AP50", "AP50-95", "G MACs", "n"]]
    for run, ann in ann_runs(rows):
        scores = [percent(ann.ap50), percent(ann.ap)]
        lines.append([cell(run.network), run.size, *scores, giga(run.macs), str(run.n)])
    return markdown_table(lines)


def ann_runs(rows: Sequence[Row]) -> list[tuple[Run, Score]]:
    """Of every network and size that has an ANN, the run with the most images; sorted."""
    runs: dict[tuple[str, str], tuple[Run, Score]] = {}
    for row in rows:
        run = row.run
        name = (run.network, run.size)
        if run.ann and (name not in runs or run.n > runs[name][0].n):
            runs[name] = (run, run.ann)
    return [runs[name] for name in sorted(runs)]


def published_table(published: Sequence[Published]) -> str:
    """Published detectors, with "unknown" for what their sources do not say."""
    head = ["detector", "data", "AP50", "AP50-95", "T", "G operations", "weights"]
    lines = [[*head, "read in", "source"]]
    for one in published:
        numbers = [one.ap50, one.ap, one.T, one.operations]
        shown = [UNKNOWN if number is None else cell(str(number)) for number in numbers]
        source = f"{one.source} ({one.note})" if one.note else one.source
        texts = [cell(text) for text in (one.weights, one.level, source)]
        lines.append([cell(one.name), cell(one.dataset), *shown, *texts])
    return markdown_table(lines)


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; the first line is its head."""
    head, *rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([head, "|---" * len(lines[0]) + "|", *rows])
