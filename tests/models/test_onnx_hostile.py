"""ONNX files that are damaged, hostile or of other networks: one line each, and quickly."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.onnx_exports import SIZE, Anchored, export
from torch import nn

from spiking_yolo.errors import UserError, pip_install
from spiking_yolo.graph import forward
from spiking_yolo.models.load import load_ann

onnx: Any = pytest.importorskip("onnx", reason="onnx is not installed (extra onnx)")
Change = Callable[[Any], None]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return export(Anchored(nn.SiLU()), tmp_path_factory.mktemp("onnx") / "good.onnx")


def refusal(path: Path) -> str:
    start = time.process_time()
    with pytest.raises(UserError) as caught:
        load_ann(path)
    said = str(caught.value)
    assert "\n" not in said and str(path) in said and time.process_time() - start < 20
    return said


def first(proto: Any, op: str) -> Any:
    return next(node for node in proto.graph.node if node.op_type == op)


def operator(op: str, new: str) -> Change:
    return lambda proto: setattr(first(proto, op), "op_type", new)


def side(at: int, value: int | str) -> Change:
    """The side of the input with this number."""

    def change(proto: Any) -> None:
        dim = proto.graph.input[0].type.tensor_type.shape.dim[at]
        setattr(dim, "dim_param" if isinstance(value, str) else "dim_value", value)

    return change


def outside(proto: Any) -> None:
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="/etc/passwd")


def branch(proto: Any) -> None:
    node = first(proto, "Sigmoid")
    node.op_type = "If"
    node.attribute.add(name="then_branch", type=5).g.name = "branch"


def circle(proto: Any) -> None:
    first(proto, "Conv").input[0] = proto.graph.node[-1].output[0]


def dims(*sides: int) -> Change:
    def change(proto: Any) -> None:
        del proto.graph.initializer[0].dims[:]
        proto.graph.initializer[0].dims.extend(sides)

    return change


def text(proto: Any) -> None:
    tensor = onnx.helper.make_tensor("m.0.weight", onnx.TensorProto.STRING, [1], [b"a"])
    proto.graph.initializer[0].CopyFrom(tensor)


def infinite(proto: Any) -> None:
    for tensor in proto.graph.initializer:
        if tensor.name == "m.1.weight":
            tensor.raw_data = torch.full((24, 8, 1, 1), float("inf")).numpy().tobytes()


REFUSALS: dict[str, tuple[Change, str]] = {
    "weights outside": (outside, "in another file"),
    "quantised": (operator("Conv", "QLinearConv"), "QLinearConv"),
    "unknown operator": (operator("Sigmoid", "Mine"), "Mine"),
    "activation without neurons": (operator("Sigmoid", "Erf"), "cannot be converted"),
    "branch": (branch, "If"),
    "batch": (side(0, 4), "batch=1"),
    "open size": (side(3, "width"), "--imgsz"),
    "two inputs": (lambda p: p.graph.input.add().CopyFrom(p.graph.input[0]), "no RGB image"),
    "circle": (circle, "cycle"),
    "unknown value": (lambda p: first(p, "Conv").input.__setitem__(0, "nothing"), "nothing"),
    "tensor of a terabyte": (dims(1 << 40, 1 << 20), "damaged"),
    "text as weights": (text, "cannot open"),
    "infinite weights": (infinite, "infinity"),
}


def test_refusals(good: Path, tmp_path: Path):
    for name in REFUSALS:
        change, word = REFUSALS[name]
        proto = onnx.load(good)
        change(proto)
        path = tmp_path / "changed.onnx"
        path.write_bytes(proto.SerializeToString())
        assert word in refusal(path)


def test_truncated_files(good: Path, tmp_path: Path):
    content = good.read_bytes()
    path = tmp_path / "cut.onnx"
    for length in (0, 1, 8, 64, len(content) // 2, len(content) - 7):
        path.write_bytes(content[:length])
        assert "damaged or no ONNX file" in refusal(path)
    for other in (b"\x08\x08\x12\x07pytorch", bytes(64), b"PNG" * 30, content[5:] * 2):
        path.write_bytes(other)
        assert "damaged" in refusal(path)


def test_another_order_of_nodes(good: Path, tmp_path: Path):
    proto = onnx.load(good)
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    (tmp_path / "best.onnx").write_bytes(proto.SerializeToString())
    x = torch.rand(1, 3, SIZE, SIZE)
    heads = [forward(load_ann(path).graph, x)[0] for path in (good, tmp_path / "best.onnx")]
    torch.testing.assert_close(*heads)


def node(op: str, inputs: str, output: str, **attrs: Any) -> Any:
    return onnx.helper.make_node(op, inputs.split(), [output], **attrs)


# Nodes, and the constant of the name "s". The output is called "y".
BOMBS: dict[str, tuple[list[Any], list[int]]] = {
    "a constant of a terabyte": (
        [node("ConstantOfShape", "s", "c"), node("Add", "c c", "y")],
        [1 << 20] * 2,
    ),
    "an endless range": (
        [
            node("Constant", "", "b", value_int=1 << 62),
            node("Constant", "", "a", value_int=0),
            node("Constant", "", "d", value_int=1),
            node("Range", "a b d", "y"),
        ],
        [1],
    ),
    "products of constants": (
        [node("ConstantOfShape", "s", "c0")]
        + [node("MatMul", f"c{k} c{k}", f"c{k + 1}") for k in range(2000)]
        + [node("Identity", "c2000", "y")],
        [4000, 4000],
    ),
    "maps that double": (
        [node("Concat", "images images", "m0", axis=1)]
        + [node("Concat", f"m{k} m{k}", f"m{k + 1}", axis=1) for k in range(60)]
        + [node("Identity", "m60", "y")],
        [1],
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path: Path, name: str):
    nodes, values = BOMBS[name]
    images = onnx.helper.make_tensor_value_info("images", 1, [1, 3, 64, 64])
    output = onnx.helper.make_tensor_value_info("y", 1, [1])
    constant = onnx.helper.make_tensor("s", 7, [len(values)], values)
    graph = onnx.helper.make_graph(nodes, "bomb", [images], [output], [constant])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    (tmp_path / "bomb.onnx").write_bytes(proto.SerializeToString())
    refusal(tmp_path / "bomb.onnx")


def test_other_networks(tmp_path: Path):
    pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    classifier = nn.Sequential(nn.Conv2d(3, 4, 3), *pooled, nn.Linear(4, 10))
    for network in (classifier, nn.Conv2d(3, 3, 3, padding=1)):
        path = export(network, tmp_path / "a.onnx")
        assert "what its outputs mean is not known" in refusal(path)


def test_no_onnx_installed(good: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert pip_install("onnx") in refusal(good)
