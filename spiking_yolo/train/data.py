"""From options to the data of a training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from spiking_yolo.data.classification import to_arrays
from spiking_yolo.data.detection import draw
from spiking_yolo.data.formats import UNPACKED, open_classification, open_detection, takes
from spiking_yolo.data.images import Picture
from spiking_yolo.models.spec import Spec
from spiking_yolo.models.yolov1 import yolov1_spec
from spiking_yolo.train.classify import ClassifyTask, classifier_spec
from spiking_yolo.train.loop import Task
from spiking_yolo.train.options import TrainOptions


@dataclass(frozen=True)
class TrainingData:
    """A dataset as a training wants it. pictures: those that are trained on, without their
    augmentation.
    """

    spec: Spec
    task: Task
    pictures: Sequence[Picture]
    notes: Sequence[str]


def share(items: Sequence[Any], options: TrainOptions) -> int:
    """How many of the items --fraction is, one at least."""
    return max(1, round(options.fraction * len(items)))


def detection(options: TrainOptions, common: dict[str, Any]) -> TrainingData:
    from spiking_yolo.train.detect import DetectTask, LossWeights, hold_out

    year = options.year if takes(options.data, "year") else None
    train_set = open_detection(options.data, options.split, year=year)
    if options.holdout:
        train_set, val_set = hold_out(train_set, options.holdout, options.seed)
    else:
        val_set = open_detection(options.data, options.val_split, year=year)
    train_set = train_set.subset(share(train_set.samples, options), options.seed)
    spec = yolov1_spec(train_set.classes, options.imgsz, logistic=not options.linear)
    weights = LossWeights(giou=options.giou, ignore=options.ignore)
    own = {k: getattr(options, k) for k in ("epochs", "workers", "mosaic", "cache")}
    task = DetectTask(train=train_set, val=val_set, spec=spec, weights=weights, **common, **own)
    notes = list(dict.fromkeys(train_set.notes + val_set.notes))
    return TrainingData(
        spec, task, [Picture.file(str(sample.path)) for sample in train_set.samples], notes
    )


def classification(options: TrainOptions, common: dict[str, Any]) -> TrainingData:
    unpacked = options.project.parent / UNPACKED
    splits = (options.split,) if options.holdout else (options.split, options.val_split)
    sets = [open_classification(options.data, split, unpacked) for split in splits]
    (images, labels), *val_parts = (to_arrays(dataset) for dataset in sets)
    spec = classifier_spec(sets[0].classes, *images.shape[1:3])
    chosen: Sequence[int] = range(len(labels))
    if options.holdout:
        kept = round(len(labels) * (1 - options.holdout))
        shuffled = torch.randperm(
            len(labels), generator=torch.Generator().manual_seed(options.seed)
        ).tolist()
        chosen, held = shuffled[:kept], shuffled[kept:]
        val_parts = [(images[held], labels[held])]
    chosen = draw(chosen, share(chosen, options), options.seed)
    train_part = images[chosen], labels[chosen]
    task = ClassifyTask(
        train=train_part, val=val_parts[0], spec=spec, hole=options.cutout, **common
    )
    notes = [note for dataset in sets for note in dataset.notes]
    return TrainingData(spec, task, [sets[0].pictures[i] for i in chosen], notes)
