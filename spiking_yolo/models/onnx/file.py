"""ONNX files read as data: nodes with known shapes, constants, and what they say of themselves.

The onnx package parses the protocol buffer, onnxscript's optimizer folds constants and computes the
shapes of an image of fixed size. No model of the file is run.
"""

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.errors import UserError, require
from spiking_yolo.io.text import LARGEST, Size, label, reason

NODES = 20_000
# Operands and results of what is folded have at most so many numbers.
FOLDED = 1 << 22
# Attributes and inputs have the forms that are read here from this opset on.
OLDEST_OPSET = 11
EXPORT_AGAIN = "export the network again, from opset 11 on, without quantisation"
QUANTISED = ("QLinear", "Quantize", "Dequantize", "DynamicQuantize", "ConvInteger", "MatMulInteger")
# The standard's operators are in these domains.
STANDARD = ("", "ai.onnx")
# Values of onnx' TensorProto.DataType and AttributeProto.AttributeType.
FLOAT, HALF, TENSOR, GRAPHS = 1, 10, 4, (5, 10)


@dataclass(frozen=True)
class OnnxNode:
    """One operation; an input that is left out has the name ""."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]
    proto: Any

    @property
    def title(self) -> str:
        """The name of the node in messages."""
        return f"node {label(self.name)!r} ({label(self.op)})"


@dataclass(frozen=True)
class OnnxModel:
    """The content of a file.

    Attributes:
        proto: The optimized model.
        nodes: The operations, in an order in which they can be computed.
        constants: Name -> tensor.
        shapes: Shape of every value that has a fixed one, by name.
        input: Name of the images.
        size: Height and width of the images.
        outputs: Names of the outputs.
        metadata: What the exporter wrote about the network.
        opset: Version of the operators.
    """

    proto: Any
    nodes: tuple[OnnxNode, ...]
    constants: dict[str, Tensor]
    shapes: dict[str, tuple[int, ...]]
    input: str
    size: Size
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]
    opset: int

    @cached_property
    def makers(self) -> dict[str, OnnxNode]:
        """The node that computes each value."""
        makers: dict[str, OnnxNode] = {}
        for node in self.nodes:
            makers.update(dict.fromkeys(node.outputs, node))
        return makers


def read_onnx(path: Path, imgsz: Size | None = None) -> OnnxModel:
    """Parse, check and optimize a file.

    Args:
        path: The file.
        imgsz: Height and width in pixels, for a file that leaves them open.

    Raises:
        UserError: It is damaged, quantised, keeps its weights elsewhere, or is no network of
            images.
    """
    onnx: Any = require("onnx", "onnx")
    try:
        proto: Any = onnx.ModelProto()
        proto.ParseFromString(path.read_bytes())
        opset = _check(proto)
        _widen(proto.graph)
        metadata = {entry.key: entry.value for entry in proto.metadata_props}
        images = _images(proto)
        size = _fix_size(images, metadata, imgsz)
        proto = _optimized(proto)
        constants: dict[str, Tensor] = {}
        for one in proto.graph.initializer:
            # Copy them, since the file's bytes cannot be written to.
            constants[one.name] = torch.from_numpy(onnx.numpy_helper.to_array(one).copy())
    except UserError:
        raise
    except Exception as error:  # onnx and onnxscript raise whatever the damage leads to
        cause = reason(error.__cause__ or error)
        raise UserError(f"it is damaged or no ONNX file ({cause}): {EXPORT_AGAIN}") from error
    outputs = tuple([value.name for value in proto.graph.output])
    nodes = tuple(map(_node, proto.graph.node))
    shapes = _shapes(proto)
    return OnnxModel(proto, nodes, constants, shapes, images.name, size, outputs, metadata, opset)


def _check(proto: Any) -> int:
    """The version of the operators. Raises UserError for files of a kind that is not read."""
    graph = proto.graph
    opset = max([entry.version for entry in proto.opset_import if entry.domain in STANDARD])
    problem = ""
    if opset < OLDEST_OPSET:
        problem = f"it is of opset {opset}"
    elif not graph.node or len(graph.node) > NODES or proto.functions:
        problem = f"it is damaged: it has {len(graph.node)} nodes"
    for node in graph.node:
        quantised = node.op_type.startswith(QUANTISED)
        branches = any(attribute.type in GRAPHS for attribute in node.attribute)
        if quantised or branches or node.domain not in STANDARD:
            problem = f"node {label(node.name)!r} ({label(node.op_type)}) cannot be converted"
    for tensor in graph.initializer:
        if tensor.data_location == 1 or tensor.external_data:
            problem = "its weights are in another file, which is not opened"
    if problem:
        raise UserError(f"{problem}: {EXPORT_AGAIN}")
    return opset


def _widen(graph: Any) -> None:
    """Numbers of 16 bits become those of 32 bits with the same values."""
    numpy_helper: Any = require("onnx.numpy_helper", "onnx")
    tensors = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == TENSOR:
                tensors.append(attribute.t)
            elif node.op_type == "Cast" and attribute.i == HALF:
                attribute.i = FLOAT
    for tensor in tensors:
        if tensor.data_type == HALF:
            wide = numpy_helper.to_array(tensor).astype("float32")
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == HALF:
            value.type.tensor_type.elem_type = FLOAT


def _images(proto: Any) -> Any:
    """The input. Raises UserError unless it is one batch of RGB images."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in constants]
    kind = inputs[0].type.tensor_type
    sides = [side.dim_value for side in kind.shape.dim]
    # 0 is an open size.
    fit = len(inputs) == 1 and kind.elem_type == FLOAT and len(sides) == 4
    if not fit or sides[0] not in (0, 1) or sides[1] not in (0, 3):
        problem = "its input is no RGB image of floats, [1, 3, H, W]"
        raise UserError(f"{problem}: {EXPORT_AGAIN}, with batch=1")
    return inputs[0]


def _fix_size(images: Any, metadata: Mapping[str, str], imgsz: Size | None) -> Size:
    """Write the size into the file's input. Raises UserError if nobody says it."""
    sides = images.type.tensor_type.shape.dim
    height, width = sides[2].dim_value, sides[3].dim_value
    if not (height and width):
        # Ultralytics writes [640, 640].
        said = re.findall(r"\d{1,9}", metadata.get("imgsz", "0 0"))
        height, width = imgsz or map(int, said[:2])
    if not (0 < height <= LARGEST and 0 < width <= LARGEST):
        raise UserError("the size of its images is open: give it by --imgsz (imgsz=...)")
    for side, value in zip(sides, (1, 3, height, width), strict=True):
        side.dim_value = value
    return height, width


def _optimized(proto: Any) -> Any:
    """The model in order, its constants folded, with the shape of every value."""
    onnx: Any = require("onnx", "onnx")
    onnx_ir: Any = require("onnx_ir", "onnx")
    passes: Any = require("onnx_ir.passes.common", "onnx")
    optimizer: Any = require("onnxscript.optimizer", "onnx")
    # The exporter's shapes are for its own size of images.
    del proto.graph.value_info[:]
    for value in proto.graph.output:
        for side in value.type.tensor_type.shape.dim:
            side.Clear()
    model = onnx_ir.from_proto(proto)
    model.graph.sort()
    onnx.checker.check_model(onnx_ir.to_proto(model))
    # The optimizer's warnings are about shapes that do not fit, which is refused where the nodes
    # are read.
    logging.getLogger("onnxscript").setLevel(logging.CRITICAL)
    optimizer.fold_constants_ir(
        model,
        onnx_shape_inference=True,
        input_size_limit=FOLDED,
        output_size_limit=FOLDED,
        should_fold=_may_fold,
    )
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    passes.IdentityEliminationPass()(model)
    passes.RemoveUnusedNodesPass()(model)
    return onnx_ir.to_proto(model)


def _may_fold(node: Any) -> bool | None:
    """False for a node whose result may be too large; None leaves it to the optimizer."""
    for output in node.outputs:
        shape = output.shape
        if shape is None or not shape.is_static() or math.prod(shape.numpy()) > FOLDED:
            return False
    return None


def _shapes(proto: Any) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    graph = proto.graph
    for value in (*graph.value_info, *graph.input, *graph.output):
        sides = value.type.tensor_type.shape.dim
        if all(side.HasField("dim_value") for side in sides):
            shapes[value.name] = tuple([side.dim_value for side in sides])
    return shapes


def _node(proto: Any) -> OnnxNode:
    """A node with its attributes as numbers, lists and text."""
    onnx: Any = require("onnx", "onnx")
    attrs: dict[str, Any] = {}
    for attribute in proto.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        attrs[attribute.name] = value
    name = proto.name or proto.output[0]
    return OnnxNode(name, proto.op_type, tuple(proto.input), tuple(proto.output), attrs, proto)
