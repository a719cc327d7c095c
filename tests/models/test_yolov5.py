"""The original YOLOv5: its head, and the size that it was trained at."""

import pytest
import torch

from spiking_yolo.decode.boxes import decode
from spiking_yolo.errors import UserError
from spiking_yolo.models.spec import HeadSpec, Spec
from spiking_yolo.models.yolo_checkpoint import _input_size, _leave_masks_out


def test_head_by_hand():
    head = HeadSpec("yolov5", classes=1, num=1, anchors=((16.0, 8.0),), scale=2.0)
    x = torch.tensor([0.0, 1.0, 0.0, -1.0, 2.0, 0.5]).view(1, 6, 1, 1).expand(1, 6, 2, 2)
    boxes, scores = decode([x], Spec("detect", ("a",), 32, 32, heads=(head,)))
    sigmoid = torch.tensor([0.0, 1.0, 0.0, -1.0, 2.0, 0.5]).sigmoid()
    # Of column 1, row 0, in cells of 16 pixels.
    cx, cy = 1 + 2 * sigmoid[0] - 0.5, 2 * sigmoid[1] - 0.5
    w, h = 16 * (2 * sigmoid[2]) ** 2, 8 * (2 * sigmoid[3]) ** 2
    wanted = torch.stack([16 * cx - w / 2, 16 * cy - h / 2, 16 * cx + w / 2, 16 * cy + h / 2]) / 32
    assert torch.allclose(boxes[0, 1], wanted)
    assert torch.allclose(scores[0, 1, 0], sigmoid[4] * sigmoid[5])


def test_of_segmentation_the_boxes_are_read():
    """Two anchors of five values, a class and three coefficients of masks."""
    conv = torch.nn.Conv2d(4, 2 * (6 + 3), 1)
    x = torch.rand(1, 4, 2, 2)
    wanted = conv(x).unflatten(1, (2, 9))[:, :, :6].flatten(1, 2)
    _leave_masks_out([conv], {"nc": 1, "nm": 3})
    assert torch.equal(conv(x), wanted)


def test_the_size_it_was_trained_at_is_in_whole_strides():
    for size in [300, "300", 300.0, [300], (300, 300)]:
        options = {"imgsz": size}
        assert _input_size({"opt": options}, {}, 32) == (320, 320)
        assert _input_size({}, {"args": options}, 32) == (320, 320)
    assert _input_size({"opt": {"imgsz": (64, 100)}}, {}, 64) == (64, 128)
    assert _input_size({"opt": {}}, {}, 32) is None
    with pytest.raises(UserError, match="its input size is none"):
        _input_size({"opt": {"imgsz": [640, -1]}}, {}, 32)
