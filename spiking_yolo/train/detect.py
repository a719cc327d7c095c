"""The detection task: photographs with boxes, the YOLOv1 loss, mAP on a validation split."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader, Dataset

from spiking_yolo.data.detection import DetectionSet
from spiking_yolo.data.images import preprocess
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.selection import Selection
from spiking_yolo.errors import UserError, require
from spiking_yolo.io.names import Size
from spiking_yolo.metrics.voc import best_f1, voc_map
from spiking_yolo.models.spec import Spec
from spiking_yolo.train.checkpoint import Batches, generator
from spiking_yolo.train.loss_yolov1 import LossWeights, yolov1_loss

Boxes = tuple[list[Tensor], list[Tensor]]


@dataclass(frozen=True)
class Photo:
    """image: uint8 [H, W, 3] RGB. boxes: float [n, 4] xyxy in pixels. labels: int [n]."""

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        return {"image": self.image, "bboxes": self.boxes, "labels": self.labels}


class DetectionAugment:
    """Photos to augmented photos of one size.

    size: (height, width), pixels. mosaic: probability that four photos are tiled into one. scale:
    smallest share of the area that a crop keeps. A crop has the shape of some photograph, and is
    stretched to `size` as whole photographs are in an evaluation. A box that loses more than 70 %
    of its area is dropped.
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
        single = [
            A.HorizontalFlip(p=0.5),
            A.RandomResizedCrop(size, scale=(scale, 1.0), ratio=(0.7, 1.7)),
        ]
        colour = [A.ColorJitter(0.4, 0.4, 0.5, 0.02, p=0.8), A.ToGray(p=0.03)]
        self.tiles = A.Compose([tiles, *colour], bbox_params=boxes)
        self.crop = A.Compose([*single, *colour], bbox_params=boxes)
        self.flip = A.Compose([single[0]], bbox_params=boxes)

    def __call__(self, photos: Sequence[Photo], rng: np.random.Generator) -> Photo:
        """photos: the one to augment, then three partners for the mosaic (or none)."""
        seed = int(rng.integers(2**31))
        if len(photos) == 4 and rng.random() < self.mosaic:
            self.flip.set_random_seed(seed)
            parts = [self.flip(**p.as_dict()) for p in photos]
            self.tiles.set_random_seed(seed)
            out = self.tiles(**parts[0], mosaic_metadata=parts[1:])
        else:
            self.crop.set_random_seed(seed)
            out = self.crop(**photos[0].as_dict())
        return Photo(
            out["image"], np.reshape(out["bboxes"], (-1, 4)), np.asarray(out["labels"], int)
        )


class AugmentedPhotos(Dataset[Any]):
    """Items (epoch, index) -> (uint8 [3, H, W], boxes [n, 4] xyxy as fractions, labels [n]).

    Difficult and crowd boxes are left out. cache: keep the decoded photos in memory.
    """

    def __init__(
        self, data: DetectionSet, augment: DetectionAugment, seed: int, cache: bool = True
    ) -> None:
        self.samples, self.augment, self.seed = data.indexed().samples, augment, seed
        self.photos = [self.read(i) for i in range(len(self.samples))] if cache else None

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, index: int) -> Photo:
        sample = self.samples[index]
        wanted = ~sample.ignored
        return Photo(sample.image(), sample.boxes[wanted], sample.labels[wanted])

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        epoch, index = key
        # The workers are the parallelism.
        cv2.setNumThreads(0)
        rng = generator(self.seed, epoch, index)
        partners = rng.integers(len(self), size=3) if self.augment.mosaic else []
        photos = [self.photos[i] if self.photos else self.read(i) for i in (index, *partners)]
        out = self.augment(photos, rng)
        height, width = out.image.shape[:2]
        scale = np.array([width, height] * 2, np.float32)
        image = torch.from_numpy(np.ascontiguousarray(out.image.transpose(2, 0, 1)))
        return (
            image,
            torch.from_numpy(out.boxes.astype(np.float32) / scale),
            torch.from_numpy(out.labels),
        )


def collate(items: Sequence[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Boxes]:
    images, boxes, labels = zip(*items, strict=True)
    return torch.stack(images), (list(boxes), list(labels))


@dataclass(kw_only=True)
class DetectTask(Batches):
    """See loop.Task. mosaic is off in the last `plain` share of the epochs, so that training ends
    on whole photos.
    """

    train: DetectionSet
    val: DetectionSet
    spec: Spec
    epochs: int
    weights: LossWeights
    workers: int = 0
    mosaic: float = 0.5
    plain: float = 0.3
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

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Boxes]]:
        self.photos.augment.mosaic = (
            self.mosaic if epoch < round(self.epochs * (1 - self.plain)) else 0.0
        )
        keys = [[(epoch, i) for i in indices] for indices in self.epoch(epoch, first)]
        # A new loader each epoch: its workers see this epoch's augmentation.
        loader = DataLoader(
            self.photos, batch_sampler=keys, collate_fn=collate, num_workers=self.workers
        )
        mean, std = (torch.tensor(v)[:, None, None] for v in (self.spec.mean, self.spec.std))
        try:
            for images, targets in loader:
                yield (images.float() / 255 - mean) / std, targets
        except (
            UserError
        ) as error:  # to what a worker raises torch puts the traceback before it, as text
            raise UserError(str(error).rpartition(f"{UserError.__name__}: ")[2]) from None

    def loss(self, output: Tensor, targets: Boxes) -> dict[str, Tensor]:
        boxes, labels = ([t.to(output.device) for t in group] for group in targets)
        return yolov1_loss(output, boxes, labels, self.spec.heads[0], self.weights)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """In percent: mAP50, the area under the curve, and mAP50_20 over the classes with 20 or
        more objects; precision and recall at the confidence of the largest F1. Nothing where there
        are no objects.
        """
        if not objects(self.val):
            return {}
        score = voc_map(predict(model, self.val, self.spec, self.batch), self.val)
        common = [ap for name, ap in score.per_class.items() if score.npos[name] >= 20]
        precision, recall = best_f1(score.ranked)
        return {
            "mAP50": 100 * score.mAP_area,
            **({"mAP50_20": 100 * float(np.mean(common))} if common else {}),
            "precision": 100 * precision,
            "recall": 100 * recall,
        }


def objects(data: DetectionSet) -> int:
    """How many boxes count: neither difficult nor of crowds."""
    return sum(int((~sample.ignored).sum()) for sample in data.samples)


def contents(data: DetectionSet) -> str:
    return f"{len(data):,} images, {objects(data):,} objects"


@torch.inference_mode()
def predict(model: nn.Module, data: DetectionSet, spec: Spec, batch: int = 16) -> list[Detections]:
    """Detections of every photo of `data`, in its order, with the settings of an evaluation."""
    device = next(model.parameters()).device
    results: list[Detections] = []
    selection = Selection(conf=0.005, iou=0.5, max_det=100, multi_label=True)
    for start in range(0, len(data), batch):
        pairs = [preprocess(s.image(), spec) for s in data.samples[start : start + batch]]
        images = torch.stack([image for image, _ in pairs]).to(
            device, memory_format=torch.channels_last
        )
        output = model(images).float().cpu()
        results += selection.boxes([output], spec, [placement for _, placement in pairs])
    return results


def hold_out(data: DetectionSet, share: float, seed: int) -> tuple[DetectionSet, DetectionSet]:
    """A random split of one set into (rest, share): settings are chosen without the validation
    data.
    """
    chosen = set(generator(seed).permutation(len(data))[: round(share * len(data))].tolist())
    parts = [
        [s for i, s in enumerate(data.samples) if (i in chosen) == held] for held in (False, True)
    ]
    return replace(data, samples=parts[0]), replace(
        data, name=f"{data.name}, held out", samples=parts[1]
    )


# Pixels of a map; from 8 x 8 on a plain convolution is faster, and patches are many.
LARGEST = 16


def by_patches(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    """conv2d of x [N, C, H, W] with stride 1 and zero padding (rows, columns) that keeps H and W,
    up to rounding.
    """
    n, _, h, w = x.shape
    rows, columns = weight.shape[2:]
    padded = F.pad(x, (padding[1], padding[1], padding[0], padding[0])).permute(0, 2, 3, 1)
    patches = torch.cat(
        [padded[:, i : i + h, j : j + w] for i in range(rows) for j in range(columns)], 3
    )
    kernels = weight.permute(0, 2, 3, 1).flatten(1)
    return F.linear(patches.flatten(0, 2), kernels, bias).reshape(n, h, w, -1).permute(0, 3, 1, 2)


class SmallMaps(TorchFunctionMode):
    """Within this context, convolutions on the CPU that `by_patches` can do faster are done
    by it.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.conv2d and not kwargs and len(args) == 7 and fits(*args):
            x, weight, bias, _, padding, *_ = args
            return by_patches(x, weight, bias, padding)
        return func(*args, **(kwargs or {}))


def fits(
    x: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> bool:
    """Whether these arguments of conv2d, as nn.Conv2d passes them, are a small map whose size is
    kept.
    """
    same = (
        tuple(2 * p + 1 for p in padding) == tuple(weight.shape[2:])
        if isinstance(padding, tuple)
        else False
    )
    plain = stride == (1, 1) and dilation == (1, 1) and groups == 1
    return x.device.type == "cpu" and x.ndim == 4 and x[0, 0].numel() <= LARGEST and same and plain
