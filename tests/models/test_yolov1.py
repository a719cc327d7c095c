from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from spiking_yolo.decode.boxes import decode
from spiking_yolo.errors import UserError
from spiking_yolo.models.darknet_weights import load_darknet
from spiking_yolo.models.spec import HeadSpec, Spec
from spiking_yolo.models.yolov1 import YOLOv1, yolov1_spec

WEIGHTS = Path(__file__).parents[2] / "weights" / "yolov3-tiny.weights"


def test_shape_stride_and_gradients():
    for activation in ["relu", "qcfs"]:
        for pool in ["max", "avg"]:
            net = YOLOv1(classes=3, activation=activation, pool=pool).train()
            output = net(torch.rand(2, 3, 64, 96))
            assert output.shape == (2, 13, 2, 3)
            output.square().sum().backward()
            assert all(p.grad is not None for p in net.parameters())


def test_has_under_ten_million_parameters_and_traces():
    net = YOLOv1().eval()
    assert sum(p.numel() for p in net.parameters()) < 10e6
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(torch.fx.symbolic_trace(net)(x), net(x))
    assert not any(isinstance(m, nn.Dropout) for m in net.modules())


def test_mistakes():
    with pytest.raises(UserError, match="multiple of 32"):
        yolov1_spec(("a",), 300)
    with pytest.raises(UserError, match="multiple of 32"):
        yolov1_spec(("a",), (320, 300))
    with pytest.raises(UserError, match="max or avg"):
        YOLOv1(pool="none")


def test_reading_a_yolov3_output_to_first_order():
    """With t = 0 the boxes are those of YOLOv3 at this size: the anchors 0 and 2 of three, and its
    class scores.
    """
    for height, width in [(128, 128), (96, 160)]:
        source = HeadSpec("yolov3", classes=2, num=3, anchors=((32, 64), (64, 64), (128, 96)))
        spec = Spec("detect", ("cat", "dog"), 128, 128, heads=(source,))
        bias = torch.zeros(3, 7)
        bias[:, :2] = torch.tensor([0.3, -0.4])
        bias[:, 4] = torch.tensor([1.0, 2.0, 3.0])
        bias[:, 5:] = torch.tensor([1.5, -2.0])
        net = YOLOv1(classes=2)
        own, rows, cols = yolov1_spec(("dog", "cat"), (height, width)), height // 32, width // 32
        net.read_output(torch.zeros(21, 512, 1, 1), bias.flatten(), spec, own)
        boxes, scores = decode([net.head(torch.zeros(1, 512, rows, cols))], own)
        there = bias.flatten()[None, :, None, None].expand(1, 21, rows, cols)
        theirs, their_scores = decode([there], replace(spec, height=height, width=width))
        anchors = torch.tensor([0, 2])
        theirs = theirs.view(3, rows * cols, 4)[anchors].transpose(0, 1).reshape(-1, 4)
        their_scores = (
            their_scores.view(3, rows * cols, 2)[anchors].transpose(0, 1).reshape(-1, 2).flip(1)
        )
        torch.testing.assert_close(boxes[0], theirs)
        torch.testing.assert_close(scores[0], their_scores)


@pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"{WEIGHTS.name} is missing from weights/")
def test_starts_as_the_public_network():
    """With leaky ReLU the features before the output are those of Tiny-YOLOv3's coarse head."""
    net = YOLOv1(classes=1, activation="leaky")
    net.init_from_darknet(WEIGHTS, yolov1_spec(("dog",), 416))
    source, spec = load_darknet(WEIGHTS)
    x = torch.rand(1, 3, 416, 416)
    with torch.no_grad():
        coarse = source(x)[0].view(3, 85, 13, 13)
        mine = net.eval()(x)[0]
    torch.testing.assert_close(
        mine[0], coarse[:, 5 + spec.names.index("dog")].mean(0), atol=1e-3, rtol=1e-3
    )
    torch.testing.assert_close(mine[2], coarse[2, 4], atol=1e-3, rtol=1e-3)
