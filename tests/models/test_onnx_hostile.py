"""ONNX files that are damaged, hostile or of other networks: one line each, and quickly."""

import random
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.onnx_damage import damage
from helpers.onnx_exports import SIZE, Anchored, export
from torch import Tensor, nn

from spiking_yolo.decode.boxes import decode
from spiking_yolo.errors import UserError, pip_install
from spiking_yolo.graph import forward
from spiking_yolo.models.load import file_kind, load_ann
from spiking_yolo.models.onnx import file

onnx: Any = pytest.importorskip("onnx", reason="onnx is not installed (extra onnx)")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return export(Anchored(nn.SiLU()), tmp_path_factory.mktemp("onnx") / "good.onnx")


def refusal(path: Path, **options: Any) -> str:
    start = time.process_time()
    with pytest.raises(UserError) as caught:
        load_ann(path, **options)
    said = str(caught.value)
    assert "\n" not in said and str(path) in said and time.process_time() - start < 20
    return said


def changed(good: Path, tmp_path: Path, change: Callable[[Any], None]) -> str:
    """What is said of a file with a change."""
    proto = onnx.load(good)
    change(proto)
    path = tmp_path / "changed.onnx"
    path.write_bytes(proto.SerializeToString())
    return refusal(path)


def test_truncated_files(good: Path, tmp_path: Path):
    content = good.read_bytes()
    path = tmp_path / "cut.onnx"
    for length in (0, 1, 8, 64, len(content) // 2, len(content) - 7):
        path.write_bytes(content[:length])
        assert "damaged or no ONNX file" in refusal(path)
    for other in (b"\x08\x08\x12\x07pytorch", bytes(64), b"PNG" * 30, content[5:] * 2):
        path.write_bytes(other)
        assert "damaged" in refusal(path)


def test_it_is_known_under_another_name(good: Path, tmp_path: Path):
    (tmp_path / "best.pt").write_bytes(good.read_bytes())
    assert file_kind(tmp_path / "best.pt") == "onnx"
    assert len(load_ann(tmp_path / "best.pt").spec.heads) == 3


def first(proto: Any, op: str) -> Any:
    return next(node for node in proto.graph.node if node.op_type == op)


def test_weights_in_another_file(good: Path, tmp_path: Path):
    """Whatever their path is, nothing is opened."""
    for location in ("/etc/passwd", "../secret", "good.onnx.data", "/dev/zero"):

        def outside(proto: Any, location: str = location) -> None:
            tensor = proto.graph.initializer[0]
            tensor.ClearField("raw_data")
            tensor.data_location = 1
            tensor.external_data.add(key="location", value=location)

        said = changed(good, tmp_path, outside)
        assert "in another file" in said and "onnx.save" in said


def test_quantised(good: Path, tmp_path: Path):
    for op in ("QLinearConv", "QuantizeLinear", "DequantizeLinear", "MatMulInteger"):
        said = changed(good, tmp_path, lambda p, op=op: setattr(p.graph.node[3], "op_type", op))
        assert f"({op}) is of a quantised export" in said and "float32" in said


@pytest.mark.parametrize("op", ["HardSwish", "Gelu", "ConvTranspose", "Einsum", "Mine"])
def test_unknown_operators_are_called_by_name(good: Path, tmp_path: Path, op: str):
    said = changed(good, tmp_path, lambda p: setattr(first(p, "Sigmoid"), "op_type", op))
    assert f"({op}) cannot be converted" in said and "YOLOv5" in said


def test_a_gate_is_no_activation(good: Path, tmp_path: Path):
    """sigmoid(x) y of two maps, as in squeeze and excitation."""

    def gate(proto: Any) -> None:
        muls = [node for node in proto.graph.node if node.op_type == "Mul"]
        muls[1].input[1] = muls[0].output[0]

    said = changed(good, tmp_path, gate)
    assert "cannot be converted" in said or "not known here" in said


def test_operators_of_others(good: Path, tmp_path: Path):
    said = changed(good, tmp_path, lambda p: setattr(first(p, "Conv"), "domain", "com.microsoft"))
    assert "com.microsoft" in said and "before it was optimised" in said
    said = changed(good, tmp_path, lambda p: setattr(p.opset_import[0], "version", 9))
    assert "opset 9" in said and "opset=17" in said
    assert "opset 0" in changed(good, tmp_path, lambda p: setattr(p.opset_import[0], "domain", "x"))


def test_branches_and_loops(good: Path, tmp_path: Path):
    def branch(proto: Any) -> None:
        node = first(proto, "Sigmoid")
        node.op_type = "If"
        attribute = node.attribute.add(name="then_branch", type=5)
        attribute.g.CopyFrom(onnx.load(good).graph)

    assert "(If) branches or loops" in changed(good, tmp_path, branch)


def test_shapes(good: Path, tmp_path: Path):
    def side(at: int, value: int | str) -> Callable[[Any], None]:
        def change(proto: Any) -> None:
            dim = proto.graph.input[0].type.tensor_type.shape.dim[at]
            setattr(dim, "dim_param" if isinstance(value, str) else "dim_value", value)

        return change

    assert "4 images at a time" in changed(good, tmp_path, side(0, 4))
    assert "only RGB" in changed(good, tmp_path, side(1, 1))
    assert "size of its images is open" in changed(good, tmp_path, side(3, "width"))
    for value in (-1, 0, 1 << 40, 100_000):
        assert "--imgsz" in changed(good, tmp_path, side(2, value))
    assert "floating point" in changed(
        good, tmp_path, lambda p: setattr(p.graph.input[0].type.tensor_type, "elem_type", 2)
    )
    said = changed(good, tmp_path, lambda p: p.graph.input.add().CopyFrom(p.graph.input[0]))
    assert "one input, and this has 2" in said


def test_order_of_nodes(good: Path, tmp_path: Path):
    """Any order is read; circles and values that nobody computes are not."""
    proto = onnx.load(good)
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    (tmp_path / "reversed.onnx").write_bytes(proto.SerializeToString())
    x = torch.rand(1, 3, SIZE, SIZE)
    heads = [forward(load_ann(p).graph, x)[0] for p in (good, tmp_path / "reversed.onnx")]
    torch.testing.assert_close(*heads)

    def circle(proto: Any) -> None:
        first(proto, "Conv").input[0] = proto.graph.node[-1].output[0]

    assert "round in a circle" in changed(good, tmp_path, circle)
    assert "which nothing computes" in changed(
        good, tmp_path, lambda p: first(p, "Conv").input.__setitem__(0, "nothing")
    )
    assert "is not computed" in changed(
        good, tmp_path, lambda p: setattr(p.graph.output[0], "name", "nothing")
    )
    assert "again" in changed(
        good, tmp_path, lambda p: p.graph.node.add().CopyFrom(first(p, "Conv"))
    )


def test_tensors_that_are_not_what_they_say(good: Path, tmp_path: Path):
    for dims in ([1 << 40, 1 << 20], [-4, -4], [8, 3, 6, 5], [0]):

        def shape(proto: Any, dims: list[int] = dims) -> None:
            del proto.graph.initializer[0].dims[:]
            proto.graph.initializer[0].dims.extend(dims)

        assert "numbers of its shape" in changed(good, tmp_path, shape)

    def text(proto: Any) -> None:
        tensor = proto.graph.initializer[0]
        tensor.Clear()
        tensor.CopyFrom(onnx.helper.make_tensor("m.0.weight", onnx.TensorProto.STRING, [1], [b"a"]))

    assert "cannot" in changed(good, tmp_path, text)


def test_infinite_weights(good: Path, tmp_path: Path):
    def infinite(proto: Any) -> None:
        for tensor in proto.graph.initializer:
            if tensor.name == "m.1.weight":
                values = torch.full((24, 8, 1, 1), float("inf"))
                tensor.raw_data = values.numpy().tobytes()

    assert "NaN or infinity" in changed(good, tmp_path, infinite)


def bomb(nodes: list[Any], tensors: dict[str, list[int]]) -> Any:
    """A file with these nodes, of which the output is called "y"."""
    images = onnx.helper.make_tensor_value_info("images", 1, [1, 3, 64, 64])
    output = onnx.helper.make_tensor_value_info("y", 1, None)
    constants = []
    for name, values in tensors.items():
        constants.append(onnx.helper.make_tensor(name, 7, [len(values)], values))
    graph = onnx.helper.make_graph(nodes, "bomb", [images], [output], constants)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])


def node(op: str, inputs: str, output: str, **attrs: Any) -> Any:
    return onnx.helper.make_node(op, inputs.split(), [output], **attrs)


BOMBS = {
    "a constant of a terabyte": bomb(
        [node("ConstantOfShape", "shape", "c"), node("Add", "c c", "y")], {"shape": [1 << 20] * 2}
    ),
    "an endless range": bomb([node("Range", "a b c", "y")], {"a": [0], "b": [1 << 62], "c": [1]}),
    "constants that double": bomb(
        [node("ConstantOfShape", "shape", "c0")]
        + [node("Concat", f"c{k} c{k}", f"c{k + 1}", axis=0) for k in range(60)]
        + [node("Identity", "c60", "y")],
        {"shape": [1 << 10]},
    ),
    "products of constants": bomb(
        [node("ConstantOfShape", "shape", "c0")]
        + [node("MatMul", f"c{k} c{k}", f"c{k + 1}") for k in range(5000)]
        + [node("Identity", "c5000", "y")],
        {"shape": [4000, 4000]},
    ),
    "maps that double": bomb(
        [node("Concat", "images images", "m0", axis=1)]
        + [node("Concat", f"m{k} m{k}", f"m{k + 1}", axis=1) for k in range(60)]
        + [node("Identity", "m60", "y")],
        {},
    ),
    "an image that is spread": bomb(
        [node("Expand", "images shape", "e"), node("Sigmoid", "e", "y")],
        {"shape": [1 << 12, 3, 64, 64]},
    ),
    "pixels in another order again and again": bomb(
        [node("Reshape", "images shape", "m0")]
        + [node("Transpose", f"m{k}", f"m{k + 1}", perm=[1, 0]) for k in range(10_000)]
        + [node("Identity", "m10000", "y")],
        {"shape": [3, -1]},
    ),
    "sigmoids of sigmoids": bomb(
        [node("Sigmoid", "images", "m0")]
        + [node("Sigmoid", f"m{k}", f"m{k + 1}") for k in range(10_000)]
        + [node("Identity", "m10000", "y")],
        {},
    ),
    "no nodes that matter": bomb([node("Identity", "images", "y")], {}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path: Path, name: str):
    (tmp_path / "bomb.onnx").write_bytes(BOMBS[name].SerializeToString())
    refusal(tmp_path / "bomb.onnx")


def test_more_nodes_than_any_network_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "long.onnx").write_bytes(BOMBS["maps that double"].SerializeToString())
    assert "more than" not in refusal(tmp_path / "long.onnx")
    monkeypatch.setattr(file, "NODES", 10)
    assert "more than 10 nodes" in refusal(tmp_path / "long.onnx")


def test_millions_of_empty_parts(good: Path, tmp_path: Path):
    """They would take 100 times the memory of the file."""

    def field(number: int, content: bytes) -> bytes:
        size = len(content)
        digits = bytes([size >> 7 * k & 127 | 128 for k in range(4)]) + bytes([size >> 28])
        return bytes([number << 3 | 2]) + digits + content

    path = tmp_path / "empty.onnx"
    few = field(1, b"") * 1000
    for content, fits in (
        (field(7, few), True),
        (field(7, field(1, b"") * 200_000), False),
        (field(7, field(5, b"") * 200_000), False),
        (field(7, few) * 200, False),
        (field(7, field(1, bytes(1 << 25))), False),
        (field(14, bytes(1 << 25)), False),
    ):
        path.write_bytes(b"\x08\x08\x12\x01a" + content)
        assert ("as no detector has" not in refusal(path)) == fits
    # A group, which would hide what follows.
    path.write_bytes(b"\x08\x08\x12\x01a\xfb\x01\xfc\x01" + field(14, bytes(1 << 25)))
    assert "damaged" in refusal(path)


def test_one_tensor_used_again_and_again(good: Path, tmp_path: Path):
    """5,000 convolutions of one kernel would take 5,000 times its memory."""

    def repeat(proto: Any) -> None:
        conv = first(proto, "Conv")
        image = conv.input[0]
        weight = onnx.helper.make_tensor("w", 1, [3, 3, 9, 9], [0.01] * 729)
        proto.graph.initializer.append(weight)
        for k in range(5000):
            name = f"again{k}"
            proto.graph.node.append(
                onnx.helper.make_node("Conv", [image, "w"], [name], pads=[4] * 4)
            )
            image = name
        conv.input[0] = image

    assert "used too often" in changed(good, tmp_path, repeat)


def test_other_networks(tmp_path: Path):
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.linear = nn.Linear(4, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(self.conv(x).relu().mean((2, 3)))

    class Denoiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)

    assert "classifier" in refusal(export(Classifier(), tmp_path / "a.onnx"))
    assert "what its outputs mean is not known" in refusal(export(Denoiser(), tmp_path / "b.onnx"))


def test_no_onnx_installed(good: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    said = refusal(good)
    assert pip_install("onnx") in said


@pytest.mark.parametrize("seed", range(80))
def test_damaged_fields(good: Path, tmp_path: Path, seed: int):
    """A file that opens in spite of its damage computes what onnxruntime computes."""
    runtime: Any = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    runtime.set_default_logger_severity(4)
    rng = random.Random(seed)
    proto = onnx.load(good)
    for _ in range(rng.choice([1, 1, 3])):
        damage(rng.choice(proto.graph.node) if rng.random() < 0.8 else proto, rng)
    path = tmp_path / "damaged.onnx"
    path.write_bytes(proto.SerializeToString())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ann = load_ann(path)
    except UserError as error:
        assert "\n" not in str(error)
        return
    x = torch.rand(1, 3, *ann.imgsz, generator=torch.Generator().manual_seed(0))
    try:
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception:  # onnxruntime is stricter about what does not matter
        return
    (rows,) = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (ann.spec.mean, ann.spec.std))
    _, scores = decode(forward(ann.graph, (x - mean) / std), ann.spec)
    torch.testing.assert_close(scores[0], rows[:, 4:5] * rows[:, 5:], rtol=1e-4, atol=1e-4)
