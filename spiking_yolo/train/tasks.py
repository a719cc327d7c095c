"""What is trained for: images with their targets, augmented; a loss; and a score of a network."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate
from torchvision import tv_tensors
from torchvision.transforms import v2

from spiking_yolo.data.classification import LabelledSet
from spiking_yolo.data.detection import DetectionSet, Sample
from spiking_yolo.data.images import Placement, preprocess, read_image
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.selection import Selection
from spiking_yolo.metrics.voc import voc_map
from spiking_yolo.models.spec import Spec
from spiking_yolo.train.loss_yolov1 import yolov1_loss

Boxes = tuple[list[Tensor], list[Tensor]]
# Smallest share of the area of a photograph that a crop keeps, and side of a box in pixels.
CROP, LEAST = 0.3, 4
# Pixels by which a classifier's images are shifted, at most; smoothing of the labels.
SHIFT, SMOOTHING = 4, 0.1
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@dataclass(eq=False)
class DetectTask(Dataset[Any]):
    """Photographs with boxes, the YOLOv1 loss, mAP50 by VOC's rule.

    Random crops of some photograph's aspect ratio are stretched to the network's input, as whole
    photographs are in an evaluation; mirrored; in other colours. Items are (uint8 [3, H, W], boxes
    [n, 4] xyxy as fractions, labels [n]). Difficult and crowd boxes are left out.

    Attributes:
        train: Photographs to train on.
        val: Those to validate on.
        spec: Interface of the network.
    """

    metric: ClassVar[str] = "mAP50"

    train: DetectionSet
    val: DetectionSet
    spec: Spec

    def __post_init__(self) -> None:
        self.samples = self.train.indexed().samples
        size = (self.spec.height, self.spec.width)
        self.scale = torch.tensor([self.spec.width, self.spec.height] * 2)
        self.augment = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(CROP, 1.0), ratio=(0.7, 1.7)),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(0.4, 0.4, 0.5, 0.02),
                v2.SanitizeBoundingBoxes(min_size=LEAST),
            ]
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        sample = self.samples[index]
        scored = ~sample.ignored
        image = tv_tensors.Image(torch.from_numpy(sample.image()).permute(2, 0, 1))
        boxes: Any = tv_tensors.BoundingBoxes(  # pyright: ignore[reportCallIssue]
            torch.from_numpy(sample.boxes[scored]).float(),
            format="XYXY",
            canvas_size=(sample.height, sample.width),
        )
        target = {"boxes": boxes, "labels": torch.from_numpy(sample.labels[scored])}
        image, target = self.augment(image, target)
        boxes = target["boxes"].as_subclass(Tensor)
        return image.as_subclass(Tensor), boxes / self.scale, target["labels"]

    @staticmethod
    def collate(items: Sequence[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Boxes]:
        images, boxes, labels = zip(*items, strict=True)
        return torch.stack(images).float() / 255, (list(boxes), list(labels))

    def loss(self, output: Tensor, targets: Boxes) -> dict[str, Tensor]:
        boxes, labels = ([one.to(output.device) for one in part] for part in targets)
        return yolov1_loss(output, boxes, labels, self.spec.heads[0])

    def score(self, model: nn.Module) -> float:
        """mAP50 in percent, the area under the curve, with the settings of an evaluation."""
        selection = Selection(conf=0.005, iou=0.5, max_det=100, multi_label=True)
        found: list[Detections] = []
        images = map(Sample.image, self.val.samples)
        for output, placements in outputs(model, images, self.spec):
            found += selection.boxes([output], self.spec, placements)
        return 100 * voc_map(found, self.val.indexed()).mAP_area


@dataclass(eq=False)
class ClassifyTask(Dataset[Any]):
    """Images with a class each, cross-entropy, top-1 accuracy.

    Images are stretched to the size of the first one, shifted by some pixels over a reflected
    border, and half of them mirrored. Items are (float32 [3, H, W], label).

    Attributes:
        train: Images to train on.
        val: Those to validate on.
    """

    metric: ClassVar[str] = "top1"

    train: LabelledSet
    val: LabelledSet

    def __post_init__(self) -> None:
        height, width = read_image(self.train.pictures[0].source).shape[:2]
        names = self.train.classes
        self.spec = Spec(
            "classify", names, height, width, "stretch", mean=CIFAR_MEAN, std=CIFAR_STD
        )
        shift = v2.RandomCrop((height, width), padding=SHIFT, padding_mode="reflect")
        self.augment = v2.Compose([shift, v2.RandomHorizontalFlip()])

    def __len__(self) -> int:
        return len(self.train)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = read_image(self.train.pictures[index].source)
        return self.augment(preprocess(image, self.spec)[0]), int(self.train.labels[index])

    collate = staticmethod(default_collate)

    def loss(self, output: Tensor, targets: Tensor) -> dict[str, Tensor]:
        targets = targets.to(output.device)
        return {"entropy": F.cross_entropy(output.float(), targets, label_smoothing=SMOOTHING)}

    def score(self, model: nn.Module) -> float:
        """Top-1 accuracy in percent."""
        images = (read_image(picture.source) for picture in self.val.pictures)
        best = [output.argmax(1) for output, _ in outputs(model, images, self.spec)]
        return 100 * float((torch.cat(best).numpy() == self.val.labels).mean())


@torch.inference_mode()
def outputs(
    model: nn.Module, images: Iterable[np.ndarray], spec: Spec, batch: int = 16
) -> Iterator[tuple[Tensor, list[Placement]]]:
    """A network's output for each batch of images, and where they lie in its input."""
    device = next(model.parameters()).device
    images = iter(images)
    while pairs := [preprocess(image, spec) for image in islice(images, batch)]:
        x = torch.stack([tensor for tensor, _ in pairs])
        output = model(x.to(device, memory_format=torch.channels_last))
        yield output.float().cpu(), [placement for _, placement in pairs]
