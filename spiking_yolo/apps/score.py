"""Score boxes that are there already, of whatever detector, by COCO's or VOC's rule. No network is
needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from spiking_yolo.arguments import Options, at_least
from spiking_yolo.errors import UserError
from spiking_yolo.io.json import write_json
from spiking_yolo.io.tables import columns, percent

if TYPE_CHECKING:
    from spiking_yolo.apps.evaluate.scoring import CocoScorer
    from spiking_yolo.decode.boxes import Detections
    from spiking_yolo.metrics.bootstrap import Interval


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(Options):
    """What was found, what is there, and by which rule."""

    predictions: Path
    """Boxes that were found, a .json in COCO's results format."""
    data: Path
    """COCO folder, annotation .json (without photographs), VOCdevkit, or data.yaml."""
    split: str | None = None
    """Of the data (default: val2017 of a COCO folder, val of the others)."""
    year: Annotated[int | None, at_least(0)] = None
    """Of a VOCdevkit (default: its latest)."""
    metric: Literal["coco", "voc"] = "coco"
    """mAP as COCO or VOC defines it."""
    per_class: bool = False
    """Print the AP50 of every class."""
    bootstrap: Annotated[int, at_least(0)] = 0
    """95 % intervals by N resamplings of the images, e.g. 1000."""
    seed: Annotated[int, at_least(0)] = 0
    """Draws the bootstrap."""
    output: Annotated[Path | None, Parameter(alias="-o")] = None
    """Write the figures to this .json."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output is not None and self.output.suffix != ".json":
            raise UserError(f"--output {self.output} must end in .json: it gets the figures")


@dataclass(frozen=True)
class Score:
    """figures: by name, as fractions, nan where there is nothing to measure. per_class: AP50.
    objects: of each of these classes. without_boxes: images for which none was found. notes: of the
    data.
    """

    images: int
    without_boxes: int
    boxes: int
    figures: Mapping[str, float]
    per_class: Mapping[str, float]
    objects: Mapping[str, int]
    intervals: "Mapping[str, Interval]"
    notes: Sequence[str]

    def text(self, per_class: bool = False) -> str:
        """A table in percent. per_class: and one of the classes."""
        head = ["percent", "", *(["95 %"] if self.intervals else [])]
        rows = [
            [name, percent(value), *self._interval(name)] for name, value in self.figures.items()
        ]
        images = f"{self.images} images, {self.without_boxes} of them without a box"
        parts = [f"{self.boxes} boxes, {images}", columns([head, *rows])]
        if per_class:
            classes = [
                [name, str(self.objects[name]), percent(ap)] for name, ap in self.per_class.items()
            ]
            parts.append(columns([["class", "n", "AP50"], *classes]))
        return "\n\n".join(parts)

    def _interval(self, name: str) -> list[str]:
        if not self.intervals:
            return []
        interval = self.intervals.get(name)
        if interval is None:
            return [""]
        return [f"[{percent(interval.low)}, {percent(interval.high)}]"]

    def save(self, path: Path) -> None:
        """As JSON, in fractions; null for what cannot be measured."""
        write_json(path, asdict(self), indent=2)


def score(options: ScoreOptions) -> Score:
    """Score the boxes of a file by COCO's or VOC's rule, with intervals. No network is needed.

    Of an annotation file no photograph need be there. Images and classes are called by their ids in
    it; and in all data images by the names of their files without suffix, and classes by theirs.

    Raises:
        UserError: A file is not what it should be.
    """
    from spiking_yolo.apps.evaluate.scoring import CocoScorer, VocScorer
    from spiking_yolo.apps.evaluate.tables import intervals
    from spiking_yolo.data.coco import load_coco_json, read_predictions
    from spiking_yolo.data.formats import open_detection
    from spiking_yolo.metrics.bootstrap import Resampling

    if options.data.suffix == ".json":
        data = load_coco_json(options.data, None)
    else:
        data = open_detection(options.data, options.split, None, options.year)
    coco = CocoScorer(data)
    stems = [sample.path.stem for sample in data.samples]
    images: dict[Any, int] = dict(zip(stems, coco.image_ids, strict=True))
    classes: dict[Any, int] = dict(zip(data.classes, coco.category_ids, strict=True))
    # Others have no numbers but their places in a list, which depend on the list.
    if data.has_ids:
        images |= {number: number for number in images.values()}
        classes |= {number: number for number in classes.values()}
    rows = read_predictions(options.predictions, images, classes)
    if options.metric == "voc":
        scored = VocScorer(data).score(_by_image(rows, coco))
    else:
        scored = coco.score_rows(rows)
    ranges: Mapping[str, Interval] = {}
    if scored.resampled and options.bootstrap:
        ranges = intervals(Resampling.of(scored.resampled(), options.bootstrap, options.seed))
    return Score(
        images=len(data),
        without_boxes=len(data) - len({row["image_id"] for row in rows}),
        boxes=len(rows),
        figures=scored.figures,
        per_class=scored.per_class,
        objects=scored.objects,
        intervals=ranges,
        notes=data.notes,
    )


def _by_image(rows: Sequence[Mapping[str, Any]], coco: "CocoScorer") -> "list[Detections]":
    """The boxes of each image, with classes as positions in coco.category_ids."""
    import numpy as np
    import torch

    from spiking_yolo.decode.boxes import Detections

    class_of = {number: i for i, number in enumerate(coco.category_ids)}
    by_image: dict[int, list[Mapping[str, Any]]] = {number: [] for number in coco.image_ids}
    for row in rows:
        by_image[row["image_id"]].append(row)
    detections: list[Detections] = []
    for own in by_image.values():
        corners = [[x, y, x + w, y + h] for x, y, w, h in (row["bbox"] for row in own)]
        xyxy = torch.from_numpy(np.array(corners, np.float32).reshape(-1, 4))
        confidence = torch.tensor([row["score"] for row in own], dtype=torch.float32)
        class_id = torch.tensor([class_of[row["category_id"]] for row in own], dtype=torch.int64)
        detections.append(Detections(xyxy, confidence, class_id))
    return detections


def main(options: ScoreOptions) -> None:
    """Score boxes that are there already, of whatever detector, by COCO's or VOC's rule. No network
    is needed.

    ```
    spiking-yolo score --predictions dt.json --data instances_val2017.json
    spiking-yolo score --predictions dt.json --data VOCdevkit --year 2012 --metric voc
    spiking-yolo score --predictions runs/eval/exp/predictions_1.json --data coco --per-class
    ```

    The predictions are a list in COCO's results format: {"image_id", "category_id", "bbox": [x, y,
    width, height], "score"}. Images and categories are called by their ids in the annotation file,
    or by the names of the files, without suffix, and of the classes. For data without such a file
    `eval` writes one, instances.json, beside its predictions.
    """
    result = score(options)
    print("".join(f"{note}\n" for note in result.notes) + result.text(options.per_class))
    if options.output is not None:
        result.save(options.output)
        print(f"\nfigures saved to {options.output}")
