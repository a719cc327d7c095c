"""Boxes of any detector against the truth, by COCO's or VOC's rule, with intervals. No network is
needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spiking_yolo.apps.evaluate.scores import CocoScorer, VocScorer
from spiking_yolo.apps.evaluate.tables import intervals
from spiking_yolo.apps.evaluate.tasks import BoxRecord
from spiking_yolo.apps.score import ScoreOptions
from spiking_yolo.data.coco import CocoSet, Row, load_coco_json, read_predictions
from spiking_yolo.data.formats import open_detection
from spiking_yolo.io.json import write_json
from spiking_yolo.io.tables import columns, percent
from spiking_yolo.metrics.bootstrap import Interval, Resampling


@dataclass(frozen=True)
class Score:
    """figures: by name, as fractions, nan where there is nothing to measure. per_class: AP50.
    objects: of each of these classes. notes: of the data.
    """

    images: int
    boxes: int
    figures: Mapping[str, float]
    per_class: Mapping[str, float]
    objects: Mapping[str, int]
    intervals: Mapping[str, Interval]
    notes: Sequence[str]

    def text(self, per_class: bool = False) -> str:
        """A table in percent. per_class: and one of the classes."""
        head = ["percent", "", *(["95 %"] if self.intervals else [])]
        rows = [
            [name, percent(value), *self._interval(name)] for name, value in self.figures.items()
        ]
        parts = [f"{self.boxes} boxes, {self.images} images", columns([head, *rows])]
        if per_class:
            classes = [
                [name, str(self.objects[name]), percent(ap)] for name, ap in self.per_class.items()
            ]
            parts.append(columns([["class", "n", "AP50"], *classes]))
        return "\n\n".join(parts)

    def _interval(self, name: str) -> list[str]:
        if not self.intervals:
            return []
        found = self.intervals.get(name)
        return ["" if found is None else f"[{percent(found.low)}, {percent(found.high)}]"]

    def save(self, path: Path) -> None:
        """As JSON, in fractions; null for what cannot be measured."""
        write_json(path, asdict(self), indent=2)


def score(options: ScoreOptions) -> Score:
    """Raises UserError for files that are not what they should be.

    Of an annotation file no photograph need be there. Images and classes are called by their ids in
    it; and in all data images by the names of their files without suffix, and classes by theirs.
    """
    if options.data.suffix == ".json":
        data = load_coco_json(options.data, None)
    else:
        data = open_detection(options.data, options.split, None, options.year)
    coco = CocoScorer(data)
    images: dict[Any, int] = {
        s.path.stem: i for s, i in zip(data.samples, coco.image_ids, strict=True)
    }
    classes: dict[Any, int] = dict(zip(data.classes, coco.category_ids, strict=True))
    # Others have no numbers but their places in a list, which depend on the list.
    if isinstance(data, CocoSet):
        images, classes = (
            {**known, **{i: i for i in known.values()}} for known in (images, classes)
        )
    rows = read_predictions(options.predictions, images, classes)
    by_voc = options.metric == "voc"
    found = VocScorer(data).score(_by_image(rows, coco)) if by_voc else coco.score_rows(rows)
    resampled = found.resampled() if found.resampled and options.bootstrap else None
    drawn = (
        intervals(Resampling.of(resampled, options.bootstrap, options.seed)) if resampled else {}
    )
    return Score(
        len(data), len(rows), found.figures, found.per_class, found.objects, drawn, data.notes
    )


def _by_image(rows: Sequence[Row], coco: CocoScorer) -> list[BoxRecord]:
    """The boxes of each image, with classes as positions in coco.category_ids."""
    position, place = (
        {key: i for i, key in enumerate(ids)} for ids in (coco.image_ids, coco.category_ids)
    )
    records: list[BoxRecord] = [{"xyxy": [], "confidence": [], "class_id": []} for _ in position]
    for row in rows:
        record, (x, y, w, h) = records[position[row["image_id"]]], row["bbox"]
        record["xyxy"].append([x, y, x + w, y + h])
        record["confidence"].append(row["score"])
        record["class_id"].append(place[row["category_id"]])
    return records
