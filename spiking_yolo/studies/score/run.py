"""Predictions of any detector, scored without a network."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spiking_yolo.datasets.coco import load_coco_json
from spiking_yolo.datasets.detection import DetectionSet
from spiking_yolo.datasets.open import open_detection, voc_years
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import finite
from spiking_yolo.io.tables import columns, percent
from spiking_yolo.metrics.bootstrap import Interval, Resampling
from spiking_yolo.studies.evaluate.intervals import named_intervals
from spiking_yolo.studies.evaluate.scorers import CocoScorer, Scored, VocScorer
from spiking_yolo.studies.score.options import ScoreOptions
from spiking_yolo.studies.versions import command_line, versions

Row = dict[str, Any]
KEYS = ("image_id", "category_id", "bbox", "score")  # of a prediction


@dataclass(frozen=True, eq=False)
class Score:
    """Figures of some predictions. scored: as fractions. intervals: 95 %, by figure, if asked for."""

    dataset: DetectionSet
    predictions: int
    metric: str
    scored: Scored
    intervals: Mapping[str, Interval]

    def text(self, per_class: bool = False) -> str:
        """What is measured and every figure in percent."""
        rule = {"coco": "COCO's rules", "voc": "VOC's rules and, last, COCO's"}[self.metric]
        title = (
            f"{self.dataset.name}: {len(self.dataset)} images, {self.predictions} predictions, by {rule}, in percent"
        )
        rows = [["", "", "95 %"]] if self.intervals else []
        for name, value in self.scored.figures.items():
            i = self.intervals.get(name)
            ends = [f"[{percent(i.low)}, {percent(i.high)}]" if i else ""] if self.intervals else []
            rows.append([name, percent(value), *ends])
        lines = [title, columns(rows)]
        if per_class:
            lines += ["", columns([["class", "AP"], *([n, percent(v)] for n, v in self.scored.per_class.items())])]
        return "\n".join([*(f"note: {note}" for note in self.dataset.notes), *lines])

    def results(self) -> dict[str, Any]:
        """Of JSON's types; None stands for nothing to measure."""
        return finite(
            {
                "dataset": self.dataset.name,
                "images": len(self.dataset),
                "predictions": self.predictions,
                "metric": self.metric,
                "figures": self.scored.figures,
                "interval_95": {name: asdict(i) for name, i in self.intervals.items()},
                "per_class": self.scored.per_class,
                "command": command_line(),
                "versions": versions(),
            }
        )


def score(options: ScoreOptions) -> Score:
    """Raises UserError for files that are missing, damaged, or do not belong to each other."""
    of_file = options.data.suffix == ".json"
    dataset = (
        load_coco_json(options.data, None)
        if of_file
        else open_detection(options.data, options.split, None, options.year)
    )
    metric = options.metric
    if metric == "auto":
        metric = "voc" if not of_file and voc_years(options.data) else "coco"
    scorer = VocScorer(dataset) if metric == "voc" else CocoScorer(dataset)
    coco = scorer.coco if isinstance(scorer, VocScorer) else scorer
    rows = read_predictions(options.predictions, set(coco.image_ids), set(coco.category_ids))
    scored = scorer.score_rows(rows)
    drawn = (
        Resampling.of(scored.resampled(), options.bootstrap, options.seed)
        if options.bootstrap and scored.resampled
        else None
    )
    return Score(dataset, len(rows), metric, scored, named_intervals(drawn) if drawn else {})


def read_predictions(path: Path, images: set[int], categories: set[int]) -> list[Row]:
    """The rows of a results file: image_id, category_id, bbox (x, y, width, height in pixels) and score.

    Raises UserError, naming the file and the first row that is wrong.
    """
    try:
        rows = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check --predictions") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): give a file in COCO's results format") from None
    if not isinstance(rows, list):
        raise UserError(
            f"{path} holds no list: give a file in COCO's results format, [{{image_id, category_id, bbox, score}}]"
        )
    for number, row in enumerate(rows):
        if reason := _wrong(row, images, categories):
            raise UserError(f"{path}, prediction {number}: {reason}")
    return rows


def _wrong(row: Any, images: set[int], categories: set[int]) -> str:
    """What is wrong with a row; empty for a good one."""
    if not isinstance(row, dict):
        return f"it is no object with {', '.join(KEYS)}"
    if missing := [key for key in KEYS if key not in row]:
        return f"it lacks {missing[0]}"
    if type(row["image_id"]) is not int or row["image_id"] not in images:
        return f"image_id {row['image_id']!r} is not one of the data's {len(images)} images"
    if type(row["category_id"]) is not int or row["category_id"] not in categories:
        return f"category_id {row['category_id']!r} is not one of the data's {len(categories)} categories"
    box = row["bbox"]
    if not isinstance(box, list) or len(box) != 4 or not all(map(_number, box)) or box[2] < 0 or box[3] < 0:
        return f"bbox must be [x, y, width, height] in pixels, not {box!r}"
    return "" if _number(row["score"]) else f"score must be a number, not {row['score']!r}"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
