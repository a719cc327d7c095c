"""The detection task: photographs with boxes, the YOLOv1 loss, mAP on a validation split."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from spiking_yolo.data.detection import DetectionSet
from spiking_yolo.data.images import Placement, preprocess
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.selection import Selection
from spiking_yolo.errors import UserError, require
from spiking_yolo.io.names import Size
from spiking_yolo.metrics.voc import best_f1, voc_map
from spiking_yolo.models.spec import Spec
from spiking_yolo.train.loop import Batches, generator
from spiking_yolo.train.loss_yolov1 import LossWeights, yolov1_loss

Boxes = tuple[list[Tensor], list[Tensor]]
# Share of the epochs, the last ones, without mosaics, so that training ends on whole photographs.
PLAIN = 0.3
# A box of this IoU with an object need not be empty.
LOSS = LossWeights(giou=2.0, ignore=0.6)


@dataclass(frozen=True)
class Photo:
    """A photograph with boxes.

    Attributes:
        image: RGB, uint8 [H, W, 3].
        boxes: xyxy in pixels, float [n, 4].
        labels: int [n].
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        return {"image": self.image, "bboxes": self.boxes, "labels": self.labels}


class DetectionAugment:
    """Augments photos by albumentations, to one size.

    A crop has the aspect ratio of some photograph, and is stretched to `size` as whole photographs
    are in an evaluation. A box that loses more than 70 % of its area is dropped.

    Args:
        size: Height and width in pixels.
        mosaic: Probability that four photos are tiled into one.
        scale: Smallest share of the area that a crop keeps.
    """

    def __init__(self, size: Size, mosaic: float = 0.0, scale: float = 0.3) -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        A = require("albumentations", "train")
        boxes = A.BboxParams(
            "pascal_voc",
            label_fields=["labels"],
            min_visibility=0.3,
            clip=True,
            filter_invalid_bboxes=True,
        )
        self.mosaic = mosaic
        tiles = A.Mosaic(grid_yx=(2, 2), target_size=size, cell_shape=size, p=1.0)
        flip = A.HorizontalFlip(p=0.5)
        crop = A.RandomResizedCrop(size, scale=(scale, 1.0), ratio=(0.7, 1.7))
        colour = [A.ColorJitter(0.4, 0.4, 0.5, 0.02, p=0.8), A.ToGray(p=0.03)]
        self.tiles = A.Compose([tiles, *colour], bbox_params=boxes)
        self.crop = A.Compose([flip, crop, *colour], bbox_params=boxes)
        self.flip = A.Compose([flip], bbox_params=boxes)

    def __call__(self, photos: Sequence[Photo], rng: np.random.Generator) -> Photo:
        """Augment the first photo; three others are partners for the mosaic, if there are any."""
        seed = int(rng.integers(2**31))
        if len(photos) == 4 and rng.random() < self.mosaic:
            self.flip.set_random_seed(seed)
            parts = [self.flip(**p.as_dict()) for p in photos]
            self.tiles.set_random_seed(seed)
            out = self.tiles(**parts[0], mosaic_metadata=parts[1:])
        else:
            self.crop.set_random_seed(seed)
            out = self.crop(**photos[0].as_dict())
        boxes = np.reshape(out["bboxes"], (-1, 4))
        return Photo(out["image"], boxes, np.asarray(out["labels"], int))


class AugmentedPhotos(Dataset[Any]):
    """Items (epoch, index) -> (uint8 [3, H, W], boxes [n, 4] xyxy as fractions, labels [n]).

    Difficult and crowd boxes are left out.

    Args:
        data: The photographs.
        augment: Their augmentation.
        seed: Seed of the augmentation.
        cache: Whether decoded photos are kept in memory.
    """

    def __init__(
        self, data: DetectionSet, augment: DetectionAugment, seed: int, cache: bool = True
    ) -> None:
        self.samples = data.indexed().samples
        self.augment = augment
        self.seed = seed
        self.photos: list[Photo] = []
        if cache:
            self.photos = list(map(self.read, range(len(self.samples))))

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, index: int) -> Photo:
        sample = self.samples[index]
        scored = ~sample.ignored
        return Photo(sample.image(), sample.boxes[scored], sample.labels[scored])

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        epoch, index = key
        # The workers are the parallelism.
        cv2.setNumThreads(0)
        rng = generator(self.seed, epoch, index)
        indices = [index]
        if self.augment.mosaic:
            indices += rng.integers(len(self), size=3).tolist()
        read = self.read
        if self.photos:
            read = self.photos.__getitem__
        photos = list(map(read, indices))
        out = self.augment(photos, rng)
        height, width = out.image.shape[:2]
        image = torch.from_numpy(np.ascontiguousarray(out.image.transpose(2, 0, 1)))
        boxes = out.boxes.astype(np.float32) / np.array([width, height] * 2, np.float32)
        return image, torch.from_numpy(boxes), torch.from_numpy(out.labels)


def collate(items: Sequence[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Boxes]:
    images, boxes, labels = zip(*items, strict=True)
    return torch.stack(images), (list(boxes), list(labels))


@dataclass(kw_only=True)
class DetectTask(Batches):
    """Detection as a loop.Task.

    Attributes:
        train: Photographs to train on.
        val: Those to validate on.
        spec: Interface of the network.
        epochs: Epochs of the whole training.
        workers: Processes that augment photographs.
        mosaic: Probability of a mosaic.
        cache: Whether decoded photographs are kept in memory.
    """

    train: DetectionSet
    val: DetectionSet
    spec: Spec
    epochs: int
    workers: int = 0
    mosaic: float = 0.5
    cache: bool = True

    def __post_init__(self) -> None:
        self.count = len(self.train)
        if not self.count:
            raise UserError(f"{self.train.name} has no images to train on: check the data")
        augment = DetectionAugment((self.spec.height, self.spec.width), self.mosaic)
        self.photos = AugmentedPhotos(self.train, augment, self.seed, self.cache)
        self.val = self.val.indexed()

    def contents(self) -> dict[str, str]:
        return {"training": contents(self.train), "validation": contents(self.val)}

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Boxes]]:
        self.photos.augment.mosaic = 0.0
        if epoch < round(self.epochs * (1 - PLAIN)):
            self.photos.augment.mosaic = self.mosaic
        keys = [[(epoch, i) for i in indices] for indices in self.epoch(epoch)]
        # A new loader each epoch: its workers see this epoch's augmentation.
        loader = DataLoader(
            self.photos, batch_sampler=keys, collate_fn=collate, num_workers=self.workers
        )
        mean = torch.tensor(self.spec.mean)[:, None, None]
        std = torch.tensor(self.spec.std)[:, None, None]
        try:
            for images, targets in loader:
                yield (images.float() / 255 - mean) / std, targets
        except UserError as error:
            # torch puts a worker's traceback, as text, before the message.
            raise UserError(str(error).rpartition(f"{UserError.__name__}: ")[2]) from None

    def loss(self, output: Tensor, targets: Boxes) -> dict[str, Tensor]:
        boxes: list[Tensor] = []
        labels: list[Tensor] = []
        for of_image, its_labels in zip(*targets, strict=True):
            boxes.append(of_image.to(output.device))
            labels.append(its_labels.to(output.device))
        return yolov1_loss(output, boxes, labels, self.spec.heads[0], LOSS)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Figures in percent; none where there are no objects.

        mAP50 is the area under the curve, and mAP50_20 that of the classes with 20 or more objects;
        precision and recall are at the confidence of the largest F1.
        """
        if not objects(self.val):
            return {}
        score = voc_map(predict(model, self.val, self.spec, self.batch), self.val)
        common = [ap for name, ap in score.per_class.items() if score.npos[name] >= 20]
        figures = {"mAP50": 100 * score.mAP_area}
        if common:
            figures["mAP50_20"] = 100 * float(np.mean(common))
        precision, recall = best_f1(score.ranked)
        return {**figures, "precision": 100 * precision, "recall": 100 * recall}


def objects(data: DetectionSet) -> int:
    """Number of objects that are neither difficult nor crowds."""
    total = 0
    for sample in data.samples:
        total += int((~sample.ignored).sum())
    return total


def contents(data: DetectionSet) -> str:
    return f"{len(data):,} images, {objects(data):,} objects"


@torch.inference_mode()
def predict(model: nn.Module, data: DetectionSet, spec: Spec, batch: int = 16) -> list[Detections]:
    """Detections in every photo of `data`, in its order, with the settings of an evaluation."""
    device = next(model.parameters()).device
    results: list[Detections] = []
    selection = Selection(conf=0.005, iou=0.5, max_det=100, multi_label=True)
    for start in range(0, len(data), batch):
        images: list[Tensor] = []
        placements: list[Placement] = []
        for sample in data.samples[start : start + batch]:
            image, placement = preprocess(sample.image(), spec)
            images.append(image)
            placements.append(placement)
        x = torch.stack(images).to(device, memory_format=torch.channels_last)
        results += selection.boxes([model(x).float().cpu()], spec, placements)
    return results
