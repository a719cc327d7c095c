"""Score a classifier: `spiking-yolo eval --metric accuracy`, whose options it takes.

    spiking-yolo classify --data cifar10_jpeg.tar.xz --weights W --method p-norm --steps 8,16,32
    spiking-yolo classify --data imagenet --weights vgg16.pth --cfg torchvision:vgg16 --limit 1000

--data takes a folder, or a tar file, with test/CLASS/ or val/CLASS/ inside, such as CIFAR-10 and
ImageNet, or the folder that holds cifar-100-python/. W is a checkpoint of `train`, a converted
network, or torchvision weights.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spiking_yolo.apps import evaluate
from spiking_yolo.apps.evaluate import EvalOptions
from spiking_yolo.settings import setting


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions(EvalOptions):
    """An evaluation of a classifier."""

    data: Path = setting(doc="folder or tar file of a classification dataset")
    metric: Literal["auto", "coco", "voc", "accuracy"] = setting("accuracy")


def main(options: ClassifyOptions) -> None:
    evaluate.main(options)
