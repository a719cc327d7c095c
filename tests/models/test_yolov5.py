"""The original YOLOv5: its head, and the public yolov5n.pt against a forward pass of its own."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.decode.boxes import decode
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.graph import forward
from spiking_yolo.models.load import load_ann
from spiking_yolo.models.spec import HeadSpec, Spec
from spiking_yolo.models.yolo_checkpoint import (
    _input_size,
    _leave_masks_out,
    read_objects,
    tensor_of,
)

ROOT = Path(__file__).parents[2]
PUBLIC = ROOT.parent / "shared" / "zoo" / "yolov5n.pt"
needs_public = pytest.mark.skipif(
    not PUBLIC.is_file(), reason="yolov5n.pt (AGPL) is not at hand and not shipped"
)
ANCHORS = {
    8: (10, 13, 16, 30, 33, 23),
    16: (30, 61, 62, 45, 59, 119),
    32: (116, 90, 156, 198, 373, 326),
}


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


class Public:
    """yolov5n by its published layer list, in float64; only the numbers come from the file."""

    def __init__(self, content: Any) -> None:
        self.root = content["model"].state["_modules"]["model"]

    def values(self, path: str, key: str) -> Tensor:
        record = self.root
        for part in path.split("."):
            record = record.state["_modules"][part]
        numbers = {**record.state["_parameters"], **record.state["_buffers"]}
        return tensor_of(numbers[key], path).double()

    def conv(self, x: Tensor, path: str, stride: int = 1, padding: int | None = None) -> Tensor:
        weight = self.values(f"{path}.conv", "weight")
        y = F.conv2d(x, weight, None, stride, weight.shape[2] // 2 if padding is None else padding)
        keys = ("running_mean", "running_var", "weight", "bias")
        mean, var, gamma, beta = (self.values(f"{path}.bn", key)[:, None, None] for key in keys)
        y = (y - mean) / torch.sqrt(var + 1e-3) * gamma + beta
        return y / (1 + torch.exp(-y))

    def c3(self, x: Tensor, path: str, n: int, add: bool) -> Tensor:
        y = self.conv(x, f"{path}.cv1")
        for i in range(n):
            z = self.conv(self.conv(y, f"{path}.m.{i}.cv1"), f"{path}.m.{i}.cv2")
            y = y + z if add else z
        return self.conv(torch.cat([y, self.conv(x, f"{path}.cv2")], 1), f"{path}.cv3")

    def __call__(self, x: Tensor) -> list[Tensor]:
        x = self.c3(self.conv(self.conv(x, "0", 2, 2), "1", 2), "2", 1, True)
        p3 = self.c3(self.conv(x, "3", 2), "4", 2, True)
        p4 = self.c3(self.conv(p3, "5", 2), "6", 3, True)
        x = self.conv(self.c3(self.conv(p4, "7", 2), "8", 1, True), "9.cv1")
        for _ in range(3):
            x = torch.cat([x, F.max_pool2d(x[:, -128:], 5, 1, 2)], 1)
        top = self.conv(self.conv(x, "9.cv2"), "10")
        middle = self.conv(self.c3(torch.cat([self.double(top), p4], 1), "13", 1, False), "14")
        fine = self.c3(torch.cat([self.double(middle), p3], 1), "17", 1, False)
        mid = self.c3(torch.cat([self.conv(fine, "18", 2), middle], 1), "20", 1, False)
        coarse = self.c3(torch.cat([self.conv(mid, "21", 2), top], 1), "23", 1, False)
        maps = enumerate((fine, mid, coarse))
        return [
            F.conv2d(y, self.values(f"24.m.{k}", "weight"), self.values(f"24.m.{k}", "bias"))
            for k, y in maps
        ]

    @staticmethod
    def double(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def boxes_and_scores(heads: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows x1, y1, x2, y2 in pixels and scores, by cell with loops over anchors: v5's own
    formula.
    """
    rows, scores = [], []
    for stride, y in zip(ANCHORS, heads, strict=True):
        y = torch.sigmoid(y[0]).unflatten(0, (3, 85))
        for k, one in enumerate(y):
            col, row = torch.arange(one.shape[2]), torch.arange(one.shape[1])[:, None]
            cx, cy = (one[0] * 2 - 0.5 + col) * stride, (one[1] * 2 - 0.5 + row) * stride
            w, h = ((one[2 + i] * 2) ** 2 * ANCHORS[stride][2 * k + i] for i in (0, 1))
            rows.append(torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]).flatten(1).T)
            scores.append((one[4] * one[5:]).flatten(1).T)
    return torch.cat(rows), torch.cat(scores)


@needs_public
def test_the_public_network_agrees_with_a_forward_pass_of_its_own():
    ann = load_ann(PUBLIC)
    assert ann.imgsz == (640, 640) and ann.spec.resize == "letterbox-114"
    assert ann.spec.names[16] == "dog"
    assert len(ann.spec.names) == 80 and ann.options == () and len(ann.graph.activations) == 57
    x, _ = preprocess(read_image(ROOT / "data" / "samples" / "dog.jpg"), ann.spec)
    x = ann.spec.normalised(x)
    expected = Public(read_objects(PUBLIC))(x[None].double())
    heads = forward(ann.graph.to(torch.float64), x[None].double())
    for head, wanted in zip(heads, expected, strict=True):
        # Folded batch norms are rounded to float32.
        assert (head - wanted).abs().max() < 1e-4
    boxes, scores = decode(heads, ann.spec)
    rows, sure = boxes_and_scores(expected)
    assert (boxes[0] * 640 - rows).abs().max() < 1e-2 and (scores[0] - sure).abs().max() < 1e-5
    assert sure.max() > 0.7


def test_the_size_it_was_trained_at_is_in_whole_strides():
    for size in [300, "300", 300.0, [300], (300, 300)]:
        options = {"imgsz": size}
        assert _input_size({"opt": options}, {}, 32) == (320, 320)
        assert _input_size({}, {"args": options}, 32) == (320, 320)
    assert _input_size({"opt": {"imgsz": (64, 100)}}, {}, 64) == (64, 128)
    assert _input_size({"opt": {}}, {}, 32) is None
    with pytest.raises(UserError, match="its input size is none"):
        _input_size({"opt": {"imgsz": [640, -1]}}, {}, 32)


@needs_public
def test_a_size_that_the_file_does_not_say_is_called_a_guess(recwarn: pytest.WarningsRecorder):
    """Once, and not where the size is chosen."""
    with pytest.warns(Notice, match="does not say its input size") as notices:
        assert load_ann(PUBLIC).imgsz == (640, 640)
    assert len(notices) == 1
    recwarn.clear()
    assert load_ann(PUBLIC, imgsz=640).imgsz == (640, 640)
    assert not [w for w in recwarn if w.category is Notice]
