"""ONNX files read as plain data: nodes, constants and what they say of themselves.

The onnx package parses the protocol buffer, and nothing of it is run. What is checked here need
not be checked again: sizes, types, and that every value is computed before it is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.errors import UserError, require
from spiking_yolo.io.names import label, reason

# Bytes of a file, at most: protocol buffers end at 2 GiB.
LARGEST_FILE = (1 << 31) - 1
NODES = 20_000
# Parts of the file, and bytes of all but the weights, at most: in memory these take 100 times as
# much.
PARTS, DESCRIPTION = 100_000, 1 << 24
# Fields of ModelProto and GraphProto.
GRAPH, WEIGHTS = 7, 5
# Of these, attributes and inputs have the forms that are read here.
OLDEST_OPSET = 11
EXPORT_AGAIN = "export the network again"
DAMAGED = "it is damaged or no ONNX file"
QUANTISED = ("QLinear", "Quantize", "Dequantize", "DynamicQuantize", "ConvInteger", "MatMulInteger")
# Where operators of the standard are.
STANDARD = ("", "ai.onnx")


@dataclass(frozen=True)
class OnnxNode:
    """One operation; an input that is left out has the name ""."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"node {label(self.name)!r} ({label(self.op)})"


@dataclass(frozen=True)
class OnnxModel:
    """The content of a file.

    Attributes:
        nodes: In an order in which they can be computed.
        constants: By name.
        input: Name of the images.
        shape: Of the input, [N, C, H, W]; None where the file leaves it open.
        outputs: Names of the outputs.
        metadata: What the exporter wrote about the network.
        opset: Version of the operators.
    """

    nodes: tuple[OnnxNode, ...]
    constants: dict[str, Tensor]
    input: str
    shape: tuple[int | None, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]
    opset: int


def read_onnx(path: Path) -> OnnxModel:
    """Parse and check a file.

    Raises:
        UserError: It is damaged, quantised, keeps its weights elsewhere, or is no network of
            images.
    """
    onnx: Any = require("onnx", "onnx")
    if path.stat().st_size > LARGEST_FILE:
        raise UserError(f"it has more than {LARGEST_FILE} bytes, as no ONNX file does")
    proto: Any = onnx.ModelProto()
    content = path.read_bytes()
    _check_parts(content)
    try:
        proto.ParseFromString(content)
    except Exception as error:  # protobuf's own, which has no public name
        raise UserError(f"{DAMAGED}: fetch it or {EXPORT_AGAIN}") from error
    if not proto.graph.node:
        raise UserError(f"{DAMAGED}, since it has no nodes: {EXPORT_AGAIN}")
    graph = proto.graph
    opset = _opset(proto)
    if len(graph.node) > NODES or graph.sparse_initializer or proto.functions:
        raise UserError(
            f"it has more than {NODES} nodes, sparse weights or functions of its own, which cannot"
            " be converted: give another file"
        )
    nodes = [_node(node, opset) for node in graph.node]
    constants = {tensor.name: _tensor(tensor) for tensor in graph.initializer}
    images = [value for value in graph.input if value.name not in constants]
    if len(images) != 1:
        raise UserError(f"a network of images has one input, and this has {len(images)}")
    outputs = tuple([value.name for value in graph.output])
    nodes = _in_order(nodes, {*constants, images[0].name}, outputs)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    return OnnxModel(
        nodes, constants, images[0].name, _input_shape(images[0]), outputs, metadata, opset
    )


def _check_parts(content: bytes) -> None:
    """Bound the memory that parsing takes, without parsing. Raises UserError."""
    count = 0
    description = 0
    waiting = [(0, len(content), False)]
    while waiting:
        start, end, in_graph = waiting.pop()
        for number, at, stop in _parts(content, start, end):
            count += 1
            if number == GRAPH and not in_graph:
                waiting.append((at, stop, True))
            elif not (number == WEIGHTS and in_graph):
                description += stop - at
            if count > PARTS or description > DESCRIPTION:
                raise UserError(
                    f"it has more than {PARTS} parts, or {DESCRIPTION} bytes besides its weights,"
                    f" as no detector has: {EXPORT_AGAIN}"
                )


def _parts(content: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of the fields of a protocol buffer; they end where it is cut."""
    while at < end:
        key, at = _varint(content, at)
        size = 0
        match key & 7:
            case 0:
                _, at = _varint(content, at)
            case 1:
                size = 8
            case 2:
                size, at = _varint(content, at)
            case 5:
                size = 4
            case _:
                # Groups, which protocol buffers of version 3 do not have.
                raise UserError(f"{DAMAGED}: fetch it or {EXPORT_AGAIN}")
        if at + size > end:
            return
        yield key >> 3, at, at + size
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits to a byte, and where the next begins."""
    value = 0
    for k, byte in enumerate(content[at : at + 10]):
        value |= (byte & 127) << (7 * k)
        if byte < 128:
            return value, at + k + 1
    return value, len(content) + 1


def _opset(proto: Any) -> int:
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    opset = max([versions.get(domain, 0) for domain in STANDARD])
    if opset < OLDEST_OPSET:
        raise UserError(
            f"it is of opset {opset}, and {OLDEST_OPSET} is the oldest that is read: {EXPORT_AGAIN}"
            " with a newer one (opset=17)"
        )
    return opset


def _node(proto: Any, opset: int) -> OnnxNode:
    """A node with its attributes as numbers, lists, text and tensors."""
    name = proto.name or next(iter(proto.output), "")
    bare = OnnxNode(name, proto.op_type, tuple(proto.input), tuple(proto.output), {})
    if proto.op_type.startswith(QUANTISED):
        raise UserError(
            f"{bare.title} is of a quantised export: {EXPORT_AGAIN} in float32, without int8"
        )
    if proto.domain not in STANDARD:
        raise UserError(
            f"{bare.title} is an operator of {label(proto.domain)}, not of the ONNX standard: give"
            " the file as it was exported, before it was optimised"
        )
    attrs: dict[str, Any] = {}
    for attribute in proto.attribute:
        attrs[attribute.name] = _attribute(attribute, bare)
    if proto.op_type == "Split":
        attrs.setdefault("num_outputs", len(bare.outputs))
    if proto.op_type == "Softmax":
        # Its default moved from the second axis to the last, and it took all that follow as one.
        attrs.setdefault("axis", -1 if opset >= 13 else 1)
        attrs["joined"] = opset < 13
    return OnnxNode(name, bare.op, bare.inputs, bare.outputs, attrs)


def _attribute(proto: Any, node: OnnxNode) -> Any:
    # Numbers of AttributeProto.AttributeType, and the fields that hold their values.
    match proto.type:
        case 1:
            return proto.f
        case 2:
            return proto.i
        case 3:
            return proto.s.decode(errors="replace")
        case 4:
            return _tensor(proto.t)
        case 6:
            return list(proto.floats)
        case 7:
            return list(proto.ints)
        case 8:
            return [text.decode(errors="replace") for text in proto.strings]
        case 5 | 10:
            raise UserError(
                f"{node.title} branches or loops, which cannot be converted: {EXPORT_AGAIN} without"
                " non-maximum suppression and with fixed sizes"
            )
    raise UserError(f"{node.title} has an attribute of an unknown type: {EXPORT_AGAIN}")


def _tensor(proto: Any) -> Tensor:
    """A constant, whose size is checked before it is unpacked; floating point as float32."""
    numpy_helper: Any = require("onnx.numpy_helper", "onnx")
    helper: Any = require("onnx.helper", "onnx")
    name = label(proto.name)
    if proto.data_location == 1 or proto.external_data:
        raise UserError(
            "its weights are in another file, which is not opened: save it as one, by"
            " onnx.save(onnx.load('best.onnx'), 'one.onnx')"
        )
    count = 1
    for side in proto.dims:
        count *= max(side, -1)
    try:
        kind: Any = helper.tensor_dtype_to_np_dtype(proto.data_type)
        bytes_each = kind.itemsize
        listed = 0
        for field in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
            listed += len(getattr(proto, field))
        fits = len(proto.raw_data) == count * bytes_each and not listed
        if min(proto.dims, default=1) < 0 or not (fits or (listed == count and not proto.raw_data)):
            raise UserError(
                f"the tensor {name!r} does not hold the numbers of its shape: fetch the file again"
            )
        # A copy, since the file's bytes cannot be written to.
        tensor = torch.from_numpy(numpy_helper.to_array(proto).copy())
        return tensor.float() if tensor.is_floating_point() else tensor
    except UserError:
        raise
    except Exception as error:  # onnx and torch raise whatever the type leads to
        raise UserError(
            f"the tensor {name!r} is of a type that no detector needs ({reason(error)}):"
            f" {EXPORT_AGAIN} in float32"
        ) from error


def _input_shape(proto: Any) -> tuple[int | None, ...]:
    kind = proto.type.tensor_type
    sides: list[int | None] = []
    for side in kind.shape.dim:
        sides.append(side.dim_value if side.WhichOneof("value") == "dim_value" else None)
    # Numbers of TensorProto.DataType: float32, float16 and float64.
    if kind.elem_type not in (1, 10, 11) or len(sides) != 4:
        raise UserError(
            f"its input {label(proto.name)!r} is no batch of images in floating point, [N, 3, H,"
            f" W]: {EXPORT_AGAIN} in float32"
        )
    if sides[1] not in (None, 3):
        raise UserError(
            f"its images have {sides[1]} channels in the second place: only RGB with the channels"
            " first, [N, 3, H, W], can be converted"
        )
    return tuple(sides)


def _in_order(
    nodes: Sequence[OnnxNode], known: set[str], outputs: Sequence[str]
) -> tuple[OnnxNode, ...]:
    """The nodes, each behind those whose values it reads.

    Some converters append nodes at the end, which runtimes sort too.

    Raises:
        UserError: A value is computed twice, not at all, or from itself.
    """
    makers: dict[str, int] = {}
    for k, node in enumerate(nodes):
        for name in filter(None, node.outputs):
            if name in makers or name in known:
                raise UserError(f"{node.title} computes {label(name)!r} again: {EXPORT_AGAIN}")
            makers[name] = k
    for name in outputs:
        if name not in makers and name not in known:
            raise UserError(f"its output {label(name)!r} is not computed: {EXPORT_AGAIN}")
    before: dict[int, set[int]] = {}
    for k, node in enumerate(nodes):
        before[k] = set()
        for name in filter(None, node.inputs):
            if name in makers:
                before[k].add(makers[name])
            elif name not in known:
                raise UserError(
                    f"{node.title} reads {label(name)!r}, which nothing computes: fetch the file"
                    f" again, or {EXPORT_AGAIN}"
                )
    if all(max(earlier, default=-1) < k for k, earlier in before.items()):
        return tuple(nodes)
    try:
        return tuple([nodes[k] for k in TopologicalSorter(before).static_order()])
    except CycleError as error:
        raise UserError(f"its nodes go round in a circle: {EXPORT_AGAIN}") from error
