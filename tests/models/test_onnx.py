"""ONNX exports as detectors: heads and boxes against onnxruntime on the very same file."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.checkpoints import ultralytics_environment
from helpers.onnx_exports import ANCHORS, CLASSES, SIZE, Anchored, export
from torch import Tensor, nn

from spiking_yolo.decode.boxes import decode
from spiking_yolo.graph import forward
from spiking_yolo.graph.modules import Attention
from spiking_yolo.models.load import Ann, load_ann

onnx: Any = pytest.importorskip("onnx", reason="onnx is not installed (extra onnx)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra onnx)")
pytest.importorskip("onnxscript", reason="the newer exporter of torch needs onnxscript")

# Boxes are pixels, of which float32 holds seven digits.
NEAR = {"rtol": 1e-5, "atol": 1e-4}


@pytest.fixture(autouse=True)
def _same_weights_every_time() -> None:
    torch.manual_seed(0)


def runtime(path: Path, images: Tensor) -> list[Tensor]:
    """What onnxruntime computes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    return list(map(torch.from_numpy, outputs))


def boxes_of(ann: Ann, x: Tensor) -> tuple[Tensor, Tensor]:
    """Centres and sizes in pixels, and scores."""
    boxes, scores = decode(forward(ann.graph, x), ann.spec)
    height, width = ann.imgsz
    left, top, right, bottom = (boxes[0] * torch.tensor([width, height, width, height])).unbind(1)
    centres = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    return torch.stack(centres, 1), scores[0]


def images(ann: Ann) -> Tensor:
    return torch.rand(1, 3, *ann.imgsz, generator=torch.Generator().manual_seed(1))


ACTS: dict[str, nn.Module] = {
    "silu": nn.SiLU(),
    "leaky": nn.LeakyReLU(0.1),
    "relu": nn.ReLU(),
    "relu6": nn.ReLU6(),
}


@pytest.mark.parametrize(("act", "dynamo"), [*((act, False) for act in ACTS), ("leaky", True)])
def test_heads_with_anchors(tmp_path: Path, act: str, dynamo: bool):
    """YOLOv5, whose anchors are found in what the file computes."""
    path = export(Anchored(ACTS[act]), tmp_path / "a.onnx", dynamo, stride="32", names="{0: 'cat', 1: 'dog', 2: 'cow'}")  # fmt: skip
    ann = load_ann(path)
    assert ann.spec.names == ("cat", "dog", "cow") and ann.imgsz == (SIZE, SIZE) and ann.spec.nms
    assert ann.spec.resize == "letterbox-114" and ann.spec.stride == 32
    for head, anchors in zip(ann.spec.heads, ANCHORS, strict=True):
        assert (head.kind, head.classes, head.anchors) == ("yolov5", CLASSES, anchors)
    assert all(node.op != "activation" or node.attrs["slope"] < 1 for node in ann.graph.nodes)
    x = images(ann)
    boxes, scores = boxes_of(ann, x)
    (rows,) = runtime(path, x)[0]
    assert rows[:, 5:].std() > 0.01 and scores.shape == (252, CLASSES)
    torch.testing.assert_close(boxes, rows[:, :4], **NEAR)
    torch.testing.assert_close(scores, rows[:, 4:5] * rows[:, 5:], **NEAR)


@pytest.fixture(scope="module")
def ultralytics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of exports that tests/helpers/ultralytics_onnx.py writes."""
    pytest.importorskip("ultralytics", reason="ultralytics (AGPL) is not installed")
    folder = tmp_path_factory.mktemp("onnx")
    script = Path(__file__).parents[1] / "helpers" / "ultralytics_onnx.py"
    command, env = [sys.executable, str(script), str(folder)], ultralytics_environment(folder)
    subprocess.run(command, env=env, check=True, capture_output=True)
    return folder


# Name -> bins of a side of a box, products of attention.
NETWORKS = {
    "yolov8n": (16, 0),
    "yolov8n-dynamic": (16, 0),
    "yolo11n": (16, 2),
    "yolov10n": (16, 2),
    "yolov9t": (16, 0),
    "yolo12n": (16, 16),
    "yolo26n": (1, 4),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "classes"), [("yolo11n-seg", 80), ("yolov8n-pose", 1)])
def test_of_segmentation_and_pose_the_boxes_are_read(ultralytics: Path, name: str, classes: int):
    ann = load_ann(ultralytics / f"{name}.onnx")
    x = images(ann)
    boxes, scores = boxes_of(ann, x)
    rows = runtime(ultralytics / f"{name}.onnx", x)[0][0].T
    assert rows.shape[1] > 4 + classes and scores.shape[1] == classes
    torch.testing.assert_close(boxes, rows[:, :4], **NEAR)
    torch.testing.assert_close(scores, rows[:, 4 : 4 + classes], **NEAR)


def test_numbers_of_16_bits(tmp_path: Path):
    """The same boxes as of the file with the same numbers in 32 bits."""
    path, half = export(Anchored(nn.SiLU()), tmp_path / "a.onnx"), tmp_path / "half.onnx"
    proto = onnx.load(path)
    for file, kind in ((path, "float32"), (half, "float16")):
        for tensor in proto.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            if values.dtype == "float32":
                rounded = values.astype("float16").astype(kind)
                tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, tensor.name))
        if file == half:
            proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
        onnx.save(proto, file)
    one, other = load_ann(path), load_ann(half)
    for expected, found in zip(*(boxes_of(ann, images(ann)) for ann in (one, other)), strict=True):
        assert torch.equal(expected, found)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_exports_of_ultralytics(ultralytics: Path, name: str):
    path = ultralytics / f"{name}.onnx"
    ann = load_ann(path)
    bins, products = NETWORKS[name]
    head = ann.spec.heads[0]
    assert (head.kind, head.classes, head.bins) == ("yolov8", 80, bins) and ann.spec.nms
    assert ann.imgsz == (96, 96) and len(ann.spec.names) == 80
    assert sum(node.product for node in ann.graph.nodes) == products
    x = images(ann)
    boxes, scores = boxes_of(ann, x)
    rows = runtime(path, x)[0][0].T
    torch.testing.assert_close(boxes, rows[:, :4], **NEAR)
    torch.testing.assert_close(scores, rows[:, 4:], **NEAR)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolov10n-sorted", "yolo26n-sorted"])
def test_heads_without_suppression(ultralytics: Path, name: str):
    """The file gives the best boxes in order, each with its class."""
    path = ultralytics / f"{name}.onnx"
    ann = load_ann(path)
    assert not ann.spec.nms and ann.spec.names[0] == "0"
    x = images(ann)
    boxes, scores = boxes_of(ann, x)
    rows = runtime(path, x)[0][0]
    torch.testing.assert_close(scores.flatten().topk(50)[0], rows[:50, 4], **NEAR)
    corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    for row in rows[:50]:
        alike = (scores[:, int(row[5])] - row[4]).abs() < 1e-5
        assert (corners[alike] - row[:4]).abs().amax(1).min() < 1e-3


class WithAttention(nn.Module):
    """A YOLOv5 with attention at the end of its first map."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Anchored(nn.SiLU())
        self.qkv = nn.ModuleList([nn.Conv2d(8, 8, 1) for _ in range(3)])
        self.attention = Attention(heads=2, areas=4)
        self.backbone = self.network.backbone
        self.network.backbone = nn.Identity()

    def forward(self, x: Tensor) -> Any:
        fine, *others = self.backbone(x)
        q, k, v = (conv(fine) for conv in self.qkv)
        return self.network([fine + self.attention(q, k, v), *others])


def test_attention_in_areas(tmp_path: Path):
    path = export(WithAttention(), tmp_path / "a.onnx", opset=17)
    ann = load_ann(path)
    (scores,) = (node for node in ann.graph.nodes if node.op == "attention_scores")
    assert dict(scores.attrs) == {"heads": 2, "areas": 4}
    x = images(ann)
    boxes, _ = boxes_of(ann, x)
    torch.testing.assert_close(boxes, runtime(path, x)[0][0][:, :4], rtol=1e-4, atol=1e-3)


def test_another_size(tmp_path: Path):
    """The network is that of any size, although the file has one."""
    model = Anchored(nn.SiLU())
    path = export(model, tmp_path / "a.onnx")
    ann = load_ann(path, imgsz=(96, 128))
    x = images(ann)
    with torch.no_grad():
        expected = [conv(y) for conv, y in zip(model.m, model.backbone(x), strict=True)]
    for own, theirs in zip(forward(ann.graph, x), expected, strict=True):
        torch.testing.assert_close(own, theirs, **NEAR)
    assert ann.options == ("--imgsz", "96x128")
