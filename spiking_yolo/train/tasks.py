"""What is trained for: images with their targets, augmented; a loss; and a score of a network.

The YOLOv1 loss is that of Redmon et al., "You Only Look Once", 2016, equation 3, and darknet's
[detection] layer with rescore=1: coordinates, objectness to IoU, empty cells, classes. All sums are
per image, averaged over the batch. The head is logistic (HeadSpec.logistic): confidences and
classes are measured by binary cross-entropy instead of squared error.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate
from torchvision.ops import box_convert, box_iou, generalized_box_iou_loss

from spiking_yolo.data.datasets import DetectionSet, LabelledSet, Sample
from spiking_yolo.data.images import Placement, preprocess, read_image
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.selection import Selection
from spiking_yolo.metrics.precision import voc_map
from spiking_yolo.models.spec import HeadSpec, Spec
from spiking_yolo.train.augment import Annotated, ClassifierAugmentation, DetectorAugmentation

# Weights of the coordinates, of the confidence of empty boxes, and of 1 - GIoU of the responsible
# boxes, which the paper does not have.
COORD, NOOBJ, GIOU = 5.0, 0.5, 2.0
# A box that overlaps an object by more than this IoU does not count as empty.
IGNORE = 0.6


class Targets(NamedTuple):
    """Targets of the responsible cells, one row per object.

    image, row, col and label are int64 [G]; xywh is [G, 4]: x and y within the cell, square roots
    of w and h as fractions of the image; corners is [G, 4]: xyxy as fractions of the image.
    """

    image: Tensor
    row: Tensor
    col: Tensor
    label: Tensor
    xywh: Tensor
    corners: Tensor


def encode(boxes: Sequence[Tensor], labels: Sequence[Tensor], grid: tuple[int, int]) -> Targets:
    """The inverse of decoding.

    A cell is responsible for one object: the largest of those whose centres fall into it.

    Args:
        boxes: Per image, xyxy as fractions, [n, 4].
        labels: Per image, [n].
        grid: Rows and columns of cells.
    """
    image = torch.cat([torch.full((len(b),), i, device=b.device) for i, b in enumerate(boxes)])
    corners = torch.cat(list(boxes)).float().reshape(-1, 4)
    cxcywh = box_convert(corners, "xyxy", "cxcywh")
    order = (cxcywh[:, 2] * cxcywh[:, 3]).argsort(descending=True, stable=True)
    rows, cols = grid
    limits = image.new_tensor([cols, rows])
    scaled = cxcywh[:, :2] * limits
    cell = scaled.long().clamp(min=0).minimum(limits - 1)
    xywh = torch.cat([scaled - cell, cxcywh[:, 2:].sqrt()], 1)
    key = ((image * rows + cell[:, 1]) * cols + cell[:, 0])[order]
    same = key[:, None] == key[None]
    # No larger object has the same cell.
    first = order[~same.tril(-1).any(1)]
    label = torch.cat(list(labels)).long()
    columns = (image, cell[:, 1], cell[:, 0], label, xywh, corners)
    return Targets(*[column[first] for column in columns])


def overlaps(predicted: Tensor, boxes: Sequence[Tensor]) -> Tensor:
    """Best IoU of each predicted box [N, R, S, B, 4] with its image's objects, [N, R, S, B]."""
    best = predicted.new_zeros(predicted.shape[:-1])
    for image, (candidates, objects) in enumerate(zip(predicted, boxes, strict=True)):
        if len(objects):
            iou = box_iou(candidates.flatten(0, -2), objects.to(candidates))
            best[image] = iou.amax(1).view(best.shape[1:])
    return best


def yolov1_loss(
    output: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor], head: HeadSpec
) -> dict[str, Tensor]:
    """The terms of the loss, which is their sum.

    Of a cell's B boxes the one with the best IoU is responsible.

    Args:
        output: Raw map [N, C + 5 B, R, S].
        boxes: Per image, xyxy as fractions, [n, 4].
        labels: Per image, [n].
        head: Head of the network.

    Returns:
        Weighted scalars "coord", "obj", "noobj", "class" and "giou".
    """
    output = output.float()
    rows, cols = output.shape[2:]
    sizes = [head.classes, head.num, 4 * head.num]
    classes, confidence, xywh = output.movedim(1, 3).split(sizes, -1)
    xywh = xywh.unflatten(-1, (head.num, 4))
    distance = F.binary_cross_entropy_with_logits
    xywh = torch.cat([xywh[..., :2].sigmoid(), xywh[..., 2:]], -1)
    corners = head.decode(output, (rows, cols))[0].view(-1, rows, cols, head.num, 4)

    t = encode(boxes, labels, (rows, cols))
    at = (t.image, t.row, t.col)
    candidates = corners.detach()[at]  # [G, B, 4]
    iou = candidates[..., 0].clone()
    for i, box in enumerate(t.corners):
        iou[i] = box_iou(candidates[i], box[None])[:, 0]
    best, b = iou.max(1)
    chosen = (*at, b)

    empty = (overlaps(corners.detach(), boxes) <= IGNORE).float()
    empty[chosen] = 0
    nothing = torch.zeros_like(confidence)
    terms = {
        "coord": COORD * (xywh[chosen] - t.xywh).square().sum(),
        "obj": distance(confidence[chosen], best, reduction="sum"),
        "noobj": NOOBJ * (distance(confidence, nothing, reduction="none") * empty).sum(),
        "class": distance(classes[at], F.one_hot(t.label, head.classes).float(), reduction="sum"),
        "giou": GIOU * generalized_box_iou_loss(corners[chosen], t.corners, reduction="sum"),
    }
    return {name: term / len(output) for name, term in terms.items()}


Boxes = tuple[list[Tensor], list[Tensor]]
# A classifier's labels are smoothed by this.
SMOOTHING = 0.1
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@dataclass(eq=False, kw_only=True)
class Augmented(Dataset[Any]):
    """Images that are augmented anew in every epoch, whichever process reads them.

    Attributes:
        seed: The augmentation of an item follows from it, the epoch and the item's number.
        epoch: Number of the epoch.
    """

    seed: int = 0
    epoch: int = 0

    def rng(self, index: int) -> np.random.Generator:
        """What decides the augmentation of an item."""
        return np.random.default_rng((self.seed, self.epoch, index))


@dataclass(eq=False)
class DetectTask(Augmented):
    """Photographs with boxes, the YOLOv1 loss, mAP50 by VOC's rule.

    Items are (uint8 [3, H, W], boxes [n, 4] xyxy as fractions, labels [n]). Difficult and crowd
    boxes are left out.

    Attributes:
        train: Photographs to train on.
        val: Images to validate on.
        spec: Interface of the network.
    """

    metric: ClassVar[str] = "mAP50"

    train: DetectionSet
    val: DetectionSet
    spec: Spec

    def __post_init__(self) -> None:
        self.samples = self.train.indexed().samples
        self.scale = torch.tensor([self.spec.width, self.spec.height] * 2)
        self.augment = DetectorAugmentation(self.spec.height, self.spec.width)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = self.rng(index)

        def others() -> list[Annotated]:
            return [annotated(self.samples[k]) for k in rng.integers(len(self), size=3)]

        item = self.augment(annotated(self.samples[index]), others, rng)
        boxes = torch.tensor(item["bboxes"], dtype=torch.float32).reshape(-1, 4)
        labels = torch.tensor(item["labels"], dtype=torch.int64)
        return torch.from_numpy(item["image"]).permute(2, 0, 1), boxes / self.scale, labels

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
class ClassifyTask(Augmented):
    """Images with a class each, cross-entropy, top-1 accuracy.

    Images are stretched to the size of the first one. Items are (float32 [3, H, W], label).

    Attributes:
        train: Images to train on.
        val: Images to validate on.
    """

    metric: ClassVar[str] = "top1"

    train: LabelledSet
    val: LabelledSet

    def __post_init__(self) -> None:
        height, width = read_image(self.train.pictures[0].source).shape[:2]
        names = self.train.classes
        colours: Any = {"mean": CIFAR_MEAN, "std": CIFAR_STD}
        self.spec = Spec("classify", names, height, width, "stretch", **colours)
        self.augment = ClassifierAugmentation(height, width)

    def __len__(self) -> int:
        return len(self.train)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = read_image(self.train.pictures[index].source)
        stretched = preprocess(image, self.spec)[0].movedim(0, -1).numpy()
        augmented = torch.from_numpy(self.augment(stretched, self.rng(index))).movedim(-1, 0)
        return self.spec.normalised(augmented), int(self.train.labels[index])

    collate = staticmethod(default_collate)

    def loss(self, output: Tensor, targets: Tensor) -> dict[str, Tensor]:
        targets = targets.to(output.device)
        return {"entropy": F.cross_entropy(output.float(), targets, label_smoothing=SMOOTHING)}

    def score(self, model: nn.Module) -> float:
        """Top-1 accuracy in percent."""
        images = (read_image(picture.source) for picture in self.val.pictures)
        best = [output.argmax(1) for output, _ in outputs(model, images, self.spec)]
        return 100 * float((torch.cat(best).numpy() == self.val.labels).mean())


def annotated(sample: Sample) -> Annotated:
    """A photograph with the boxes that count, as the augmentation takes them."""
    scored = ~sample.ignored
    boxes, labels = sample.boxes[scored], sample.labels[scored]
    return {"image": sample.image(), "bboxes": boxes, "labels": labels}


@torch.inference_mode()
def outputs(
    model: nn.Module, images: Iterable[np.ndarray], spec: Spec, batch: int = 16
) -> Iterator[tuple[Tensor, list[Placement]]]:
    """A network's output for each batch of images, and where they lie in its input."""
    device = next(model.parameters()).device
    images = iter(images)
    while pairs := [preprocess(image, spec) for image in islice(images, batch)]:
        x = spec.normalised(torch.stack([tensor for tensor, _ in pairs]))
        output = model(x.to(device, memory_format=torch.channels_last))
        yield output.float().cpu(), [placement for _, placement in pairs]
