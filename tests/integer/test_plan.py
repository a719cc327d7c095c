"""Which parts of networks have no kernel in C, so that PyTorch computes them."""

from pathlib import Path

import pytest
import torch
from helpers.darknet_cfgs import yolov4, yolov4_tiny, yolov7_tiny
from helpers.darknet_files import random_network
from helpers.networks import without_kernel

from spiking_yolo.graph.trace import trace
from spiking_yolo.models.load import load_ann

pytestmark = pytest.mark.slow
WEIGHTS = Path(__file__).parents[2] / "weights"
LAST = {"linear": 1}
SHIPPED: dict[str, dict[str, int]] = {
    "yolov3-tiny.weights": {},
    "yolov1-voc.safetensors": {},
    "MobileNetV2-YOLOv3-Nano-coco.weights": {},
    "MobileNetV2-YOLOv3-Nano-voc.weights": {},
    # A depthwise layer of two maps that are joined, one of which is upsampled.
    "yolo-fastest-1.1.weights": {"conv": 1},
    "yolo-fastest-1.1-xl.weights": {"conv": 1},
    "resnet20-cifar10.safetensors": LAST,
    "vgg-thin-cifar10.safetensors": LAST,
    "vgg16-cifar10.safetensors": LAST,
}
# Maxima of maps that are joined.
TINY = {"max_pool": 3}
DARKNET = {
    "yolov4-tiny": (yolov4_tiny(64), TINY),
    "yolov4-tiny-3l": (yolov4_tiny(64, heads=3), TINY),
    "yolov7-tiny": (yolov7_tiny(64), {}),
    "yolov4": (yolov4(64, narrow=8), {}),
}


def test_every_shipped_network_is_listed():
    found = {path.name for path in WEIGHTS.glob("*.weights")}
    found |= {path.name for path in WEIGHTS.glob("*.safetensors")}
    assert {name for name in found if "calibrations" not in name} == SHIPPED.keys()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_networks(name: str):
    ann = load_ann(WEIGHTS / name)
    assert without_kernel(ann.graph, ann.spec) == SHIPPED[name]


@pytest.mark.parametrize("name", DARKNET)
def test_architectures_of_darknet(name: str):
    cfg, expected = DARKNET[name]
    network = random_network(cfg)
    graph = trace(network, torch.zeros(1, 3, 64, 64))
    assert without_kernel(graph, network.spec([str(k) for k in range(80)])) == expected
