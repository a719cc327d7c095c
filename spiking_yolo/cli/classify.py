"""Score a classifier: `spiking-yolo eval --metric accuracy`, whose options it takes.

    spiking-yolo classify --data cifar10_jpeg.tar.xz --weights W --method p-norm --steps 8,16,32
    spiking-yolo classify --data imagenet --weights vgg16.pth --cfg torchvision:vgg16 --limit 1000

--data takes a folder, or a tar file, with test/CLASS/ or val/CLASS/ inside, such as CIFAR-10 and
ImageNet, or the folder that holds cifar-100-python/. W is a checkpoint of `train`, a converted
network, or torchvision weights.
"""

from spiking_yolo.apps.evaluate import ClassifyOptions
from spiking_yolo.cli.eval import main

__all__ = ["OPTIONS", "main"]
OPTIONS = ClassifyOptions
