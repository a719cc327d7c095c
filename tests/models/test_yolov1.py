from pathlib import Path

import pytest
import torch

from spiking_yolo.errors import UserError
from spiking_yolo.models.darknet import load_darknet
from spiking_yolo.models.trainable import YOLOv1, yolov1_spec

WEIGHTS = Path(__file__).parents[2] / "weights" / "yolov3-tiny.weights"


def test_shape_stride_and_gradients():
    for activation in ["relu", "qcfs"]:
        for pool in ["max", "avg"]:
            net = YOLOv1(classes=3, activation=activation, pool=pool).train()
            output = net(torch.rand(2, 3, 64, 96))
            assert output.shape == (2, 13, 2, 3)
            output.square().sum().backward()
            assert all(p.grad is not None for p in net.parameters())


def test_mistakes():
    with pytest.raises(UserError, match="multiple of 32"):
        yolov1_spec(("a",), 300)
    with pytest.raises(UserError, match="multiple of 32"):
        yolov1_spec(("a",), (320, 300))


@pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"{WEIGHTS.name} is missing from weights/")
def test_starts_as_the_public_network():
    """With leaky ReLU the features before the output are those of Tiny-YOLOv3's coarse head."""
    net = YOLOv1(classes=1, activation="leaky")
    net.init_from_darknet(WEIGHTS)
    source = load_darknet(WEIGHTS)[0]
    x = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        y = x
        # Up to the convolution in front of the coarse head.
        for layer in source.layers[:15]:
            y = layer(y)
        torch.testing.assert_close(net.eval().neck(net.backbone(x)), y)
