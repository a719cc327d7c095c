"""The detection task: photographs with boxes, the YOLOv1 loss, mAP on a validation split."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from spiking_yolo.data.detection import DetectionSet
from spiking_yolo.data.images import Placement, preprocess
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.selection import Selection
from spiking_yolo.errors import UserError
from spiking_yolo.io.names import Size
from spiking_yolo.metrics.voc import voc_map
from spiking_yolo.models.spec import Spec
from spiking_yolo.train.loop import Batches, generator
from spiking_yolo.train.loss_yolov1 import yolov1_loss

Boxes = tuple[list[Tensor], list[Tensor]]
# Smallest share of the area of a photograph that a crop keeps, and side of a box in pixels.
CROP, LEAST = 0.3, 4


def augmentation(size: Size) -> v2.Transform:
    """Random crops of some photograph's aspect ratio, stretched to a size (height, width) as whole
    photographs are in an evaluation; mirrored; in other colours.
    """
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(CROP, 1.0), ratio=(0.7, 1.7)),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.4, 0.4, 0.5, 0.02),
            v2.SanitizeBoundingBoxes(min_size=LEAST),
        ]
    )


class AugmentedPhotos(Dataset[Any]):
    """Items (epoch, index) -> (uint8 [3, H, W], boxes [n, 4] xyxy as fractions, labels [n]).

    Difficult and crowd boxes are left out.

    Args:
        data: The photographs.
        size: Height and width in pixels.
        seed: Seed of the augmentation.
    """

    def __init__(self, data: DetectionSet, size: Size, seed: int) -> None:
        self.samples = data.indexed().samples
        self.augment = augmentation(size)
        self.scale = torch.tensor([size[1], size[0]] * 2)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        epoch, index = key
        sample = self.samples[index]
        scored = ~sample.ignored
        image = tv_tensors.Image(torch.from_numpy(sample.image()).permute(2, 0, 1))
        boxes: Any = tv_tensors.BoundingBoxes(  # pyright: ignore[reportCallIssue]
            torch.from_numpy(sample.boxes[scored]).float(),
            format="XYXY",
            canvas_size=(sample.height, sample.width),
        )
        target = {"boxes": boxes, "labels": torch.from_numpy(sample.labels[scored])}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator(self.seed, epoch, index).integers(2**63)))
            image, target = self.augment(image, target)
        boxes = target["boxes"].as_subclass(Tensor)
        return image.as_subclass(Tensor), boxes / self.scale, target["labels"]


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
        workers: Processes that augment photographs.
    """

    train: DetectionSet
    val: DetectionSet
    spec: Spec
    workers: int = 0

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Boxes]]:
        photos = AugmentedPhotos(self.train, (self.spec.height, self.spec.width), self.seed)
        keys = [[(epoch, i) for i in indices] for indices in self.epoch(epoch)]
        loader = DataLoader(
            photos, batch_sampler=keys, collate_fn=collate, num_workers=self.workers
        )
        try:
            for images, targets in loader:
                yield images.float() / 255, targets
        except UserError as error:
            # torch puts a worker's traceback, as text, before the message.
            raise UserError(str(error).rpartition(f"{UserError.__name__}: ")[2]) from None

    def loss(self, output: Tensor, targets: Boxes) -> dict[str, Tensor]:
        boxes, labels = ([one.to(output.device) for one in part] for part in targets)
        return yolov1_loss(output, boxes, labels, self.spec.heads[0])

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """mAP50 in percent, the area under the curve by VOC's rule."""
        score = voc_map(predict(model, self.val, self.spec, self.batch), self.val)
        return {"mAP50": 100 * score.mAP_area}


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
