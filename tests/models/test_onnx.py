"""ONNX exports as detectors: heads and boxes against onnxruntime on the very same file."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.onnx_exports import ANCHORS, CLASSES, SIZE, YOLOX, Anchored, export
from helpers.tiny import write_tiny
from torch import Tensor, nn

from spiking_yolo.data.images import place
from spiking_yolo.decode.boxes import decode
from spiking_yolo.errors import UserError
from spiking_yolo.graph import forward
from spiking_yolo.graph.modules import Attention
from spiking_yolo.models import ultralytics as isolated
from spiking_yolo.models.load import Ann, load_ann
from spiking_yolo.onnx.model import ann_model

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
    own = images.numpy().astype(
        "float16" if "float16" in session.get_inputs()[0].type else "float32"
    )
    return [
        torch.from_numpy(output).float()
        for output in session.run(None, {session.get_inputs()[0].name: own})
    ]


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
    "mish": nn.Mish(),
    "prelu": nn.PReLU(),
}


@pytest.mark.parametrize(("act", "dynamo"), [*((act, False) for act in ACTS), ("prelu", True)])
def test_heads_with_anchors(tmp_path: Path, act: str, dynamo: bool):
    """YOLOv5, whose anchors are found in what the file computes; with leaky ReLU YOLOv7-tiny with
    --grid, not fused, whose trained numbers become part of the convolutions.
    """
    path = export(Anchored(ACTS[act], implicit=act == "leaky"), tmp_path / "a.onnx", dynamo, stride="32", names="{0: 'cat', 1: 'dog', 2: 'cow'}")  # fmt: skip
    ann = load_ann(path)
    assert ann.spec.names == ("cat", "dog", "cow") and ann.imgsz == (SIZE, SIZE) and ann.spec.nms
    assert ann.spec.resize == "letterbox-114" and ann.spec.stride == 32
    for head, anchors in zip(ann.spec.heads, ANCHORS, strict=True):
        assert (head.kind, head.classes, head.anchors) == ("yolov5", CLASSES, anchors)
    assert len(ann.graph.weighted) == 14 or act != "leaky"
    assert all(node.op != "activation" or node.attrs["slope"] < 1 for node in ann.graph.nodes)
    x = images(ann)
    boxes, scores = boxes_of(ann, x)
    (rows,) = runtime(path, x)[0]
    assert rows[:, 5:].std() > 0.01 and scores.shape == (252, CLASSES)
    torch.testing.assert_close(boxes, rows[:, :4], **NEAR)
    torch.testing.assert_close(scores, rows[:, 4:5] * rows[:, 5:], **NEAR)


def test_maps_without_boxes(tmp_path: Path):
    """An export of YOLOv7-tiny without --grid does not hold its anchors."""
    path = export(Anchored(ACTS["leaky"], decoded=False, implicit=True), tmp_path / "a.onnx")
    with pytest.raises(UserError, match=r"maps without their anchors.*--grid"):
        load_ann(path)


@pytest.mark.parametrize(("decoded", "dynamo"), [(False, False), (True, False), (False, True)])
def test_yolox(tmp_path: Path, decoded: bool, dynamo: bool):
    """It takes BGR images of whole numbers up to 255, in the upper left corner of grey."""
    path = export(YOLOX(decoded), tmp_path / "yolox.onnx", dynamo)
    ann = load_ann(path)
    assert {head.kind for head in ann.spec.heads} == {"yolox"} and ann.spec.nms
    assert ann.spec.names == ("class 0", "class 1", "class 2")
    # The stem is one convolution of the image.
    first = ann.graph.nodes[1]
    assert first.op == "conv" and ann.graph.tensors[f"{first.name}.weight"].shape == (8, 3, 6, 6)
    x = images(ann)
    (rows,) = runtime(path, x.flip(1) * 255)[0]
    boxes, scores = boxes_of(ann, x)
    if decoded:
        torch.testing.assert_close(boxes, rows[:, :4], rtol=1e-4, atol=1e-3)
    else:
        raw = [head[0, :4].flatten(1).T for head in forward(ann.graph, x)]
        torch.testing.assert_close(torch.cat(raw), rows[:, :4], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores, rows[:, 4:5] * rows[:, 5:], **NEAR)
    placement = place(100, 51, ann.spec)
    # Rounded down: 51 * 0.64 = 32.64.
    assert placement.resized == (64, 32) and placement.pad == (0, 0)


@pytest.fixture(scope="module")
def ultralytics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of exports that tests/helpers/ultralytics_onnx.py writes."""
    pytest.importorskip("ultralytics", reason="ultralytics (AGPL) is not installed")
    folder = tmp_path_factory.mktemp("onnx")
    script = Path(__file__).parents[1] / "helpers" / "ultralytics_onnx.py"
    command, env = [sys.executable, str(script), str(folder)], isolated.environment(folder)
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


@pytest.mark.slow
def test_half_precision(ultralytics: Path):
    """Weights of float16, and nodes out of order."""
    path = ultralytics / "yolov8n-half.onnx"
    ann = load_ann(path)
    x = images(ann)
    boxes, scores = boxes_of(ann, x)
    rows = runtime(path, x)[0][0].T
    torch.testing.assert_close(boxes, rows[:, :4], rtol=1e-2, atol=0.2)
    torch.testing.assert_close(scores, rows[:, 4:], rtol=1e-2, atol=1e-2)


@pytest.mark.slow
def test_other_tasks_are_called_by_name(ultralytics: Path):
    for name, said in (
        ("yolov8n-seg", "for the task segment"),
        ("yolov8n-cls", "for the task classify"),
    ):
        with pytest.raises(UserError, match=said):
            load_ann(ultralytics / f"{name}.onnx")


class WithAttention(nn.Module):
    """A YOLOv5 whose image is normalised, with attention at the end of its first map."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Anchored(nn.SiLU())
        self.qkv = nn.ModuleList([nn.Conv2d(8, 8, 1) for _ in range(3)])
        self.attention = Attention(heads=2, areas=4)
        self.backbone = self.network.backbone
        self.network.backbone = nn.Identity()

    def forward(self, x: Tensor) -> Any:
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.4, 0.5, 0.3], [0.2, 0.3, 0.25]))
        fine, *others = self.backbone((x - mean) / std)
        q, k, v = (conv(fine) for conv in self.qkv)
        return self.network([fine + self.attention(q, k, v), *others])


def test_attention_in_areas_and_a_normalised_image(tmp_path: Path):
    path = export(WithAttention(), tmp_path / "a.onnx", opset=17)
    ann = load_ann(path)
    (scores,) = (node for node in ann.graph.nodes if node.op == "attention_scores")
    assert dict(scores.attrs) == {"heads": 2, "areas": 4}
    assert ann.spec.mean == pytest.approx([0.4, 0.5, 0.3], abs=1e-6)
    assert ann.spec.std == pytest.approx([0.2, 0.3, 0.25], abs=1e-6)
    x = images(ann)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (ann.spec.mean, ann.spec.std))
    boxes, _ = boxes_of(ann, (x - mean) / std)
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


@pytest.mark.slow
def test_a_size_that_is_open(tmp_path: Path, ultralytics: Path):
    """It comes from the caller, or from what the exporter wrote."""
    proto = onnx.load(ultralytics / "yolov8n-dynamic.onnx")
    kept = [entry for entry in proto.metadata_props if entry.key != "imgsz"]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    onnx.save(proto, tmp_path / "open.onnx")
    with pytest.raises(UserError, match=r"size of its images is open.*--imgsz"):
        load_ann(tmp_path / "open.onnx")
    ann = load_ann(tmp_path / "open.onnx", imgsz=(64, 96))
    x = images(ann)
    rows = runtime(tmp_path / "open.onnx", x)[0][0].T
    torch.testing.assert_close(boxes_of(ann, x)[0], rows[:, :4], **NEAR)


def test_class_names(tmp_path: Path):
    """Those of the file, or of one beside it, or of --names."""
    path = export(Anchored(nn.ReLU()), tmp_path / "a.onnx")
    assert load_ann(path).spec.names[2] == "class 2"
    (tmp_path / "three.names").write_text("a\nb\nc\n")
    assert load_ann(path, names=tmp_path / "three.names").spec.names == ("a", "b", "c")
    (tmp_path / "a.names").write_text("d\ne\nf\n")
    assert load_ann(path).spec.names == ("d", "e", "f")
    for names in ({0: "x", 1: "y", 2: "z"}, ["x", "y", "z"], json.dumps(["x", "y", "z"])):
        proto = onnx.load(path)
        proto.metadata_props.add(key="names", value=str(names))
        onnx.save(proto, tmp_path / "b.onnx")
        assert load_ann(tmp_path / "b.onnx").spec.names == ("x", "y", "z")
    with pytest.raises(UserError, match="its own class names: leave out --names"):
        load_ann(tmp_path / "b.onnx", names=tmp_path / "three.names")
    proto.metadata_props[-1].value = "['x']"
    onnx.save(proto, tmp_path / "c.onnx")
    with pytest.raises(UserError, match="1 names of its 3 classes"):
        load_ann(tmp_path / "c.onnx")
    for wrong in ("(" * 100_000, "__import__('os')", "{0: 'x'", "[" * 100_000):
        proto.metadata_props[-1].value = wrong
        onnx.save(proto, tmp_path / "c.onnx")
        assert load_ann(tmp_path / "c.onnx").spec.names[0] == "class 0"


def test_exports_of_this_package(tmp_path: Path):
    """The ANN comes back as it was; a converted network does not."""
    ann = load_ann(write_tiny(tmp_path))
    proto = ann_model(ann.graph, ann.spec)
    onnx.save(proto, tmp_path / "own.onnx")
    again = load_ann(tmp_path / "own.onnx")
    x = images(ann)
    assert again.spec == ann.spec
    for own, theirs in zip(forward(again.graph, x), forward(ann.graph, x), strict=True):
        assert torch.equal(own, theirs)
    entry = next(entry for entry in proto.metadata_props if entry.key == "spec")
    for text in ("", "{}", "[1]", entry.value.replace('"yolov3"', '"x"')):
        entry.value = text
        onnx.save(proto, tmp_path / "damaged.onnx")
        with pytest.raises(UserError, match=r"damaged|kind cannot be"):
            load_ann(tmp_path / "damaged.onnx")
    proto.metadata_props.add(key="kind", value="spiking")
    onnx.save(proto, tmp_path / "spiking.onnx")
    with pytest.raises(UserError, match="converted already"):
        load_ann(tmp_path / "spiking.onnx")
