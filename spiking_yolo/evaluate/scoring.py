"""What an evaluation is told, and what is scored: photographs by COCO's rule or VOC's, or images
with a class each by accuracy.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch

from spiking_yolo.data.annotations import matched_classes
from spiking_yolo.data.datasets import DetectionSet, LabelledSet
from spiking_yolo.decode.boxes import Detections, TopClasses
from spiking_yolo.decode.selection import Selection
from spiking_yolo.errors import UserError
from spiking_yolo.metrics import bootstrap
from spiking_yolo.metrics.precision import FIGURES, coco_score, relabel, to_coco, voc_map
from spiking_yolo.models.spec import Spec, numbered
from spiking_yolo.observe import Input, Observation, read_input

Batches = Sequence[Sequence[Observation]]
# The others keep pycocotools' names.
COCO_NAMES = {"AP": "mAP50-95", "AP50": "mAP50"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an evaluation is told.

    Attributes:
        selection: Which boxes of a detector count.
        steps: Timesteps of a photograph that are reported, ascending; the last one is T.
        frame_steps: The timesteps of a frame of a video.
        split: Split of the data; None for that which their format has.
        images: Folder of the images of an annotation file; None if they lie beside it.
        year: Year of a VOCdevkit; None for its latest.
        metric: Which scores; "auto" for those of the data.
        limit: Images that are drawn, and first frames of each video; None for all.
        seed: Draws the images, and the bootstrap.
        batch: Images that are simulated together; None for as many as are fast.
        own_photographs: Whether photographs are seen at their own shape.
        own_frames: Whether frames are.
        lossless: See Stream.
        bootstrap: Resamplings for intervals of 95 %; 0 for none.
    """

    selection: Selection = field(
        default_factory=lambda: Selection(conf=0.001, max_det=100, multi_label=True)
    )
    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    frame_steps: tuple[int, ...] = (1,)
    split: str | None = None
    images: Path | None = None
    year: int | None = None
    metric: Literal["auto", "coco", "voc", "accuracy"] = "auto"
    limit: int | None = None
    seed: int = 0
    batch: int | None = None
    own_photographs: bool = False
    own_frames: bool = True
    lossless: bool = False
    bootstrap: int = 0


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of one column of predictions.

    Attributes:
        figures: Name -> fraction, nan where there is nothing to measure.
        per_class: AP or accuracy by class name.
        objects: How many objects of a class, or images, that rests on.
        resampled: (n, seed) -> n resamplings of some of the figures, named as there.
    """

    figures: dict[str, float]
    per_class: dict[str, float] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)
    resampled: Callable[[int, int], bootstrap.Resampling] | None = None


class Scorer(ABC):
    """Gives an evaluation its images, and scores what is predicted for them, each by itself.

    Attributes:
        name: Name of the dataset.
        main: Figures of a table; the first is plotted.
        selection: Which boxes of a detector count.
        video: Whether images are frames, whose networks keep their state.
    """

    main: tuple[str, ...] = ()
    selection: Selection | None = None
    video = False

    def __init__(self, dataset: Any, spec: Spec):
        if not len(dataset):
            raise UserError(f"{dataset.name} has no images: pass a split with images")
        self.name: str = dataset.name
        self.notes: list[str] = list(dataset.notes)
        self.dataset = dataset
        self.spec = spec

    def __len__(self) -> int:
        """Images."""
        return len(self.dataset)

    def facts(self) -> dict[str, Any]:
        """What decides the predictions besides the network; of JSON's types."""
        lines = "".join(self.dataset.lines())
        digest = hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()
        facts = {"name": self.name, "images": len(self), "sha256": digest}
        if self.selection:
            facts |= asdict(self.selection)
        return facts

    def batches(self, size: int) -> list[range]:
        """Indices of the images that are observed together; of videos one range for each."""
        n = len(self)
        return [range(i, min(i + size, n)) for i in range(0, n, size)]

    @abstractmethod
    def inputs(self, batch: range) -> Iterator[Input]:
        """The images of a batch, not prepared for the network yet."""

    @cached_property
    def parts(self) -> "list[tuple[slice, Scorer]]":
        """Batches that have rows of their own in the table, and their scorer; all come last."""
        return [(slice(None), self)]

    @abstractmethod
    def score(self, seen: Batches, predictions: Sequence[Sequence[Any]]) -> Scored:
        """Score a column of predictions: of each batch, of each image."""

    def rows(self, predictions: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
        """A column of predictions as a file lists them; nothing where none is written."""
        return []


class CocoScorer(Scorer):
    """The twelve figures of COCO, for any dataset (`DetectionSet.as_coco`).

    Args:
        dataset: Photographs and their objects.
        spec: Interface of the network.
        selection: Which boxes count; those of classes that the dataset lacks do not take places.

    Raises:
        UserError: The network does not know a class of the dataset.
    """

    main = ("mAP50", "mAP50-95")

    def __init__(self, dataset: DetectionSet, spec: Spec, selection: Selection):
        super().__init__(dataset, spec)
        self.truth, self.image_ids, self.category_ids = dataset.as_coco()
        self.classes = matched_classes(dataset, spec.names)
        matched = len(self.classes) - self.classes.count(-1)
        if not matched == len(spec.names) == len(dataset.classes):
            self.notes.append(
                f"{matched} of the network's {len(spec.names)} classes are matched with the"
                f" dataset's {len(dataset.classes)} by name"
            )
        common = tuple(c for c, index in enumerate(self.classes) if index >= 0)
        self.selection = replace(selection, classes=common, multi_label=True)

    def inputs(self, batch: range) -> Iterator[Input]:
        for sample in self.dataset.samples[batch.start : batch.stop]:
            yield read_input(sample.image())

    def rows(self, predictions: Sequence[Sequence[Detections]]) -> list[dict[str, Any]]:
        """Predictions in COCO's results format."""
        rows: list[dict[str, Any]] = []
        for image_id, boxes in zip(self.image_ids, chain(*predictions), strict=True):
            rows += to_coco(relabel(boxes, self.classes), image_id, self.category_ids)
        return rows

    def score(self, seen: Batches, predictions: Sequence[Sequence[Detections]]) -> Scored:
        return self.score_rows(self.rows(predictions))

    def score_rows(self, rows: list[dict[str, Any]]) -> Scored:
        """rows: predictions in COCO's results format."""
        score = coco_score(self.truth, rows)
        figures: dict[str, float] = {}
        for name in FIGURES:
            value = score.stats[name]
            if value < 0:
                value = math.nan
            figures[COCO_NAMES.get(name, name)] = value

        def resampled(n: int, seed: int) -> bootstrap.Resampling:
            matched = bootstrap.CocoResampled(self.truth, rows)
            names = tuple(COCO_NAMES[name] for name in matched.figures)
            return replace(bootstrap.Resampling.of(matched, n, seed), figures=names)

        return Scored(figures, score.per_class, score.objects, resampled)


class VocScorer(CocoScorer):
    """mAP of VOC by both rules, beside COCO's two."""

    main = ("mAP_area", "mAP_07")

    def score(self, seen: Batches, predictions: Sequence[Sequence[Detections]]) -> Scored:
        boxes = [relabel(found, self.classes) for found in chain(*predictions)]
        score = voc_map(boxes, self.dataset)
        by_coco = super().score(seen, predictions).figures
        figures = {"mAP_area": score.mAP_area, "mAP_07": score.mAP_07}
        for name in COCO_NAMES.values():
            figures[name] = by_coco[name]

        def resampled(n: int, seed: int) -> bootstrap.Resampling:
            return bootstrap.Resampling.of(bootstrap.VocResampled(score.ranked), n, seed)

        return Scored(figures, score.per_class, score.npos, resampled)


class ClassScorer(Scorer):
    """Top-1 and top-5 accuracy; per class the share of its images that top-1 gets right.

    Raises:
        UserError: The network is no classifier, or does not know a class of the dataset.
    """

    main = ("top1", "top5")

    def __init__(self, dataset: LabelledSet, spec: Spec):
        super().__init__(dataset, spec)
        if spec.task != "classify":
            raise UserError(
                "this network is a detector, which gives images no class: give a classifier, such"
                " as --weights resnet20, or photographs with boxes"
            )
        self.classes = torch.tensor(classification_classes(dataset, spec.names))

    def inputs(self, batch: range) -> Iterator[Input]:
        for picture in self.dataset.pictures[batch.start : batch.stop]:
            yield read_input(picture.source)

    def _relabelled(self, prediction: TopClasses) -> torch.Tensor:
        """The best classes by the dataset's index, -1 for one that it lacks."""
        valid = prediction.class_id >= 0
        return torch.where(valid, self.classes[prediction.class_id], -1)

    def rows(self, predictions: Sequence[Sequence[TopClasses]]) -> list[dict[str, Any]]:
        """One row per image: its name, its label, and the best classes."""
        rows: list[dict[str, Any]] = []
        labels = self.dataset.labels.tolist()
        pairs = zip(self.dataset.pictures, labels, chain(*predictions), strict=True)
        for picture, label, best in pairs:
            confidence = [float(str(value)) for value in best.confidence.numpy()]
            row = {"class_id": self._relabelled(best).tolist(), "confidence": confidence}
            rows.append({"image": picture.name, "label": label, **row})
        return rows

    def score(self, seen: Batches, predictions: Sequence[Sequence[TopClasses]]) -> Scored:
        labels = self.dataset.labels
        classes = torch.stack(list(map(self._relabelled, chain(*predictions)))).numpy()
        hits = {f"top{k}": bootstrap.correct(classes, labels, k) for k in (1, 5)}
        per_class: dict[str, float] = {}
        objects: dict[str, int] = {}
        for i, name in enumerate(self.dataset.classes):
            images = labels == i
            if images.any():
                per_class[name] = float(hits["top1"][images].mean())
                objects[name] = int(images.sum())

        def resampled(n: int, seed: int) -> bootstrap.Resampling:
            return bootstrap.Resampling.of(bootstrap.AccuracyResampled(hits), n, seed)

        figures = {name: float(hit.mean()) for name, hit in hits.items()}
        return Scored(figures, per_class, objects, resampled)


def classification_classes(dataset: LabelledSet, names: Sequence[str]) -> tuple[int, ...]:
    """Index in `dataset.classes` of each class of the network, -1 where the dataset lacks it.

    Matched by name; a network whose classes have numbers only takes them in the dataset's order.
    """
    labels = {name: i for i, name in enumerate(dataset.classes)}
    if tuple(names) == numbered(len(labels)):
        return tuple(range(len(names)))
    for name in labels:
        if name not in names:
            raise UserError(
                f"the network has no class {name!r}, which {dataset.name} has ({len(names)}"
                f" classes in the network, {len(labels)} in the data): give data of the network's"
                " own classes, or its class names with --names"
            )
    return tuple(labels.get(name, -1) for name in names)
