"""Classification as a task of the engine: the classes of largest logit, for the images of a LabelledSet."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.datasets.labelled import LabelledSet
from spiking_yolo.errors import UserError
from spiking_yolo.io.images import preprocess, read_image
from spiking_yolo.metrics.classification import top_classes
from spiking_yolo.models.spec import Spec, numbered

ClassRecord = dict[str, list[Any]]  # {"class_id": [...], "confidence": [...]}, the best first

KEPT = 5  # classes per image


class ClassificationTask:
    """The KEPT best classes as indices of `dataset.classes`, -1 for one that the dataset lacks, and their softmax.

    exit_conf: for early exit, an image goes on while its best class has no more than this confidence.
    Raises UserError when the network is no classifier or does not know a class of the dataset.
    """

    def __init__(self, spec: Spec, dataset: LabelledSet, exit_conf: float = 0.5):
        if spec.task != "classify":
            raise UserError("this network is a detector, which gives images no class: score it by --metric coco or voc")
        if not len(dataset):
            raise UserError(f"{dataset.name} has no images: pass a split with images")
        self.spec, self.dataset, self.thresholds = spec, dataset, {"exit_conf": exit_conf}
        self.classes = torch.tensor(class_map(dataset, spec.names))

    def __len__(self) -> int:
        return len(self.dataset)

    def load(self, index: int) -> tuple[Tensor, None]:
        return preprocess(read_image(self.dataset.pictures[index].source), self.spec)[0], None

    def predict(self, outputs: Sequence[Tensor], contexts: Sequence[None]) -> list[ClassRecord]:
        (logits,) = outputs
        best = top_classes(logits, KEPT)
        confidence = logits.double().softmax(1).gather(1, best.clamp(min=0)).float()
        ours = torch.where(best < 0, -1, self.classes[best])
        return [
            {"class_id": ids, "confidence": [float(str(v)) for v in values]}
            for ids, values in zip(ours.tolist(), confidence.numpy(), strict=True)
        ]

    def same(self, a: ClassRecord, b: ClassRecord, confidence: float = 0.02) -> bool:
        """Whether both are as sure of one class. A guess never counts as unchanged: no spike may have arrived yet."""
        before, after = a["confidence"][0], b["confidence"][0]
        sure = min(before, after) > self.thresholds["exit_conf"] and abs(before - after) <= confidence
        return sure and a["class_id"][0] == b["class_id"][0]


def class_map(dataset: LabelledSet, names: Sequence[str]) -> tuple[int, ...]:
    """For each class of the network its index in `dataset.classes`, -1 where the dataset lacks it.

    Matched by name; a network whose classes have numbers only takes them in the dataset's order.
    """
    ours = {name: i for i, name in enumerate(dataset.classes)}
    if tuple(names) == numbered(len(ours)):
        return tuple(range(len(names)))
    if missing := [name for name in ours if name not in names]:
        raise UserError(
            f"the network has no class {missing[0]!r}, which {dataset.name} has ({len(names)} classes in the network, "
            f"{len(ours)} in the data): give data of the network's own classes, or its class names with --names"
        )
    return tuple(ours.get(name, -1) for name in names)
