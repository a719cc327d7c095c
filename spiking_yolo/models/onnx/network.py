"""Detectors from ONNX files: a file in, a Graph and a Spec out.

Nodes of the file become nodes of a Graph, one after the other. LAYERS says how an operator becomes
one, whatever exporters make of it. What has no counterpart has no value: a sigmoid, which may turn
out to be a part of SiLU, and the decoding behind the network.
"""

import ast
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.errors import UserError, require
from spiking_yolo.graph import ERRORS, Graph
from spiking_yolo.io.text import STRIDE, Size, printable
from spiking_yolo.models.onnx.builder import (
    Feature,
    GraphBuilder,
    Layout,
    Scores,
    Value,
    attended,
    rearranged,
    scores_of,
    softmax_of,
)
from spiking_yolo.models.onnx.file import OnnxModel, OnnxNode, read_onnx
from spiking_yolo.models.onnx.head import HeadMaps, find_head
from spiking_yolo.models.spec import Spec, class_names
from spiking_yolo.models.yolo_checkpoint import names_of

Args = Sequence[Value | None]


def conv(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    x = builder.feature(args[0])
    weight = args[1]
    a = node.attrs
    padding = _padding(a)
    if not isinstance(weight, Tensor) or weight.ndim != 4 or x is None or padding is None:
        return None
    if padding[:2] != padding[2:]:
        return None
    bias: Value | None = torch.zeros(len(weight))
    if len(args) > 2:
        bias = args[2]
    if not isinstance(bias, Tensor):
        return None
    geometry: dict[str, Any] = {
        "stride": a.get("strides", [1, 1]),
        "padding": padding[:2],
        "dilation": a.get("dilations", [1, 1]),
        "groups": a.get("group", 1),
    }
    return builder.emit("conv", node.name, x, weights=(weight, bias), **geometry)


def _padding(attrs: Any) -> list[int] | None:
    """Top, left, bottom, right; None for padding that depends on the size, or is negative."""
    padding = attrs.get("pads", [0, 0, 0, 0])
    automatic = attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if len(padding) != 4 or min(padding) < 0 or automatic:
        return None
    return padding


def _by_side(padding: list[int]) -> list[int]:
    """Left, right, top, bottom."""
    top, left, bottom, right = padding
    return [left, right, top, bottom]


def add(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    x, y = builder.feature(args[0]), builder.feature(args[1])
    if x is None or y is None or x.shape != y.shape:
        return None
    return builder.emit("add", node.name, x, y)


def multiply(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    """SiLU, or a map and a number for each channel."""
    model = builder.model
    for x, name, factor in zip(args, node.inputs, node.inputs[::-1], strict=True):
        if not isinstance(x, Feature):
            continue
        maker = model.makers.get(factor)
        if maker is not None and maker.op == "Sigmoid" and maker.inputs[0] == name:
            return builder.emit("activation", node.name, x, slope=0.0, silu=True)
        constant = model.constants.get(factor)
        if constant is not None and constant.numel() == x.shape[1] == constant.shape[-3]:
            weights = constant.view(-1, 1, 1, 1), torch.zeros(len(constant.flatten()))
            pair = [1, 1]
            geometry = {"stride": pair, "padding": [0, 0], "dilation": pair, "groups": x.shape[1]}
            return builder.emit("conv", node.name, x, weights=weights, **geometry)
    return None


def activation(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    x = builder.feature(args[0])
    attrs: dict[str, Any] = {"slope": 0.0}
    if node.op == "LeakyRelu":
        attrs["slope"] = float(node.attrs.get("alpha", 0.01))
    elif node.op == "Clip":
        numbers = [arg.flatten() for arg in args[1:] if isinstance(arg, Tensor) and arg.numel()]
        if len(numbers) != 2 or numbers[0] != 0 or not 0 < numbers[1] < torch.inf:
            return None
        attrs["cap"] = float(numbers[1])
    if x is None or not 0 <= attrs["slope"] < 1:
        return None
    return builder.emit("activation", node.name, x, **attrs)


def max_pool(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    a = node.attrs
    x = builder.feature(args[0])
    padding = _padding(a)
    if x is None or padding is None or a.get("dilations", [1, 1]) != [1, 1]:
        return None
    window = {"kernel": a["kernel_shape"], "stride": a.get("strides", [1, 1])}
    ceil = bool(a.get("ceil_mode", 0))
    return builder.emit("max_pool", node.name, x, padding=_by_side(padding), ceil=ceil, **window)


def average_pool(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    a = node.attrs
    x = builder.feature(args[0])
    padding = _padding(a)
    if x is None or padding is None or padding[:2] != padding[2:]:
        return None
    window: dict[str, Any] = {"kernel": a["kernel_shape"], "stride": a.get("strides", [1, 1])}
    window["ceil"] = bool(a.get("ceil_mode", 0))
    window["count_include_pad"] = bool(a.get("count_include_pad", 0))
    return builder.emit("avg_pool", node.name, x, padding=padding[:2], **window)


def resize(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    """Nearest upsampling by whole factors, which repeats rows and columns."""
    x = builder.feature(args[0])
    a = node.attrs
    rule = a.get("coordinate_transformation_mode"), a.get("nearest_mode"), a.get("mode", "nearest")
    if x is None or rule != ("asymmetric", "floor", "nearest"):
        return None
    sides = builder.model.shapes[node.outputs[0]]
    factors = [side // of for side, of in zip(sides[2:], x.shape[2:], strict=True)]
    result = builder.emit("upsample", node.name, x, scale=factors)
    return result if tuple(result.shape) == sides else None


def concat(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    maps: list[Feature] = []
    for arg in args:
        feature = builder.feature(arg)
        if feature is None or len(feature.shape) != 4:
            return None
        maps.append(feature)
    if node.attrs["axis"] not in (1, -3):
        return None
    return builder.emit("concat", node.name, *maps)


def pad(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    x = builder.feature(args[0])
    constants = [arg for arg in args[1:] if isinstance(arg, Tensor)]
    if x is None or not constants or any(map(bool, map(torch.any, constants[1:]))):
        return None
    sides: list[int] = constants[0].tolist()
    if node.attrs.get("mode", "constant") != "constant" or any(sides[:2] + sides[4:6]):
        return None
    return builder.emit("pad", node.name, x, padding=_by_side(sides[2:4] + sides[6:8]))


# Operator -> f(nodes so far, ONNX node, its inputs): a map, None if it has no counterpart.
LAYERS: dict[str, Callable[[GraphBuilder, OnnxNode, Args], Feature | None]] = {
    "Conv": conv,
    "Add": add,
    "Mul": multiply,
    "Relu": activation,
    "LeakyRelu": activation,
    "Clip": activation,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "Resize": resize,
    "Concat": concat,
    "Pad": pad,
}


# Characters of the class names in a file, at most.
LONGEST_NAMES = 1 << 18
# They change nothing: casts of maps are between widths of floating point.
IDENTITIES = {"Identity", "Dropout", "Cast"}
# They move values without changing them.
MOVES = {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Split", "Slice", "Gather"}


def load_onnx(
    path: Path, names: str | Path | None = None, imgsz: Size | None = None
) -> tuple[Graph, Spec]:
    """Graph and Spec of a detector in an ONNX file, of which nothing is run.

    Args:
        path: The file.
        names: A file of class names, instead of those that it may hold.
        imgsz: Height and width in pixels, for a file that leaves them open.

    Raises:
        UserError: The file is damaged, or holds no detector that is known here.
    """
    try:
        model = read_onnx(path, imgsz)
        builder, values = translate(model)
        head = find_head(model, values)
        return _graph(builder, head), _spec(path, model, head, names)
    except (*ERRORS, SyntaxError, MemoryError, RecursionError) as error:
        said = printable(" ".join(str(error)[:400].split()))
        raise UserError(f"cannot open {path}: {said}") from error


def _graph(builder: GraphBuilder, head: HeadMaps) -> Graph:
    """The nodes from which the head's maps are computed, those of each level joined."""
    outputs: list[str] = []
    for k, level in enumerate(head.levels):
        joined = level[0]
        if len(level) > 1:
            joined = builder.emit("concat", f"head_{k}", *level)
        outputs.append(joined.node)
    return builder.graph(outputs)


def _spec(path: Path, model: OnnxModel, head: HeadMaps, names: str | Path | None) -> Spec:
    classes = head.heads[0].classes
    stride = STRIDE
    for level in head.levels:
        stride = max(stride, model.size[0] // level[0].shape[2])
    # The text is a list or a dict as Python writes it.
    text = model.metadata.get("names", "")
    if names is None and 0 < len(text) < LONGEST_NAMES:
        texts = names_of(ast.literal_eval(text), classes)
    else:
        texts = class_names(path, names, classes)
    size = model.size
    return Spec("detect", texts, *size, "letterbox-114", head.heads, stride=stride, nms=head.nms)


def translate(model: OnnxModel) -> tuple[GraphBuilder, dict[str, Value]]:
    """A file's nodes as nodes of a Graph.

    Args:
        model: The file's content.

    Returns:
        The nodes, and what the values of the file are that have a counterpart.

    Raises:
        UserError: A node does not fit its inputs.
    """
    builder = GraphBuilder(model)
    values: dict[str, Value] = dict(model.constants)
    values[model.input] = builder.start(model.input, (1, 3, *model.size))
    for node in model.nodes:
        args = list(map(values.get, node.inputs))
        values.update(zip(node.outputs, _results(builder, node, args), strict=False))
    return builder, values


def _results(builder: GraphBuilder, node: OnnxNode, args: Args) -> Sequence[Value]:
    """The outputs of a node; none where it has no counterpart."""
    first = args[0] if args else None
    if first is not None and node.op in IDENTITIES:
        return [first]
    result = None
    if node.op in LAYERS:
        result = LAYERS[node.op](builder, node, args)
    elif isinstance(first, Feature | Layout) and node.op in MOVES:
        return _moved(builder.model, node, first)
    result = result or _part_of_attention(builder, node, args)
    return [] if result is None else [result]


def _moved(model: OnnxModel, node: OnnxNode, value: Feature | Layout) -> list[Value]:
    """The outputs of a node that moves values of a map, which it is run for."""
    reference: Any = require("onnx.reference", "onnx")
    layout = value
    if isinstance(layout, Feature):
        layout = Layout(layout, layout.places)
    feeds = {node.inputs[0]: layout.index.numpy()}
    for name in filter(None, node.inputs[1:]):
        feeds[name] = model.constants[name].numpy()
    run = reference.ReferenceEvaluator(node.proto, opsets={"": model.opset})
    parts: list[Value] = []
    for part in run.run(None, feeds):
        parts.append(Layout(layout.source, torch.from_numpy(part.copy()), layout.scale))
    return parts


def _part_of_attention(builder: GraphBuilder, node: OnnxNode, args: Args) -> Value | None:
    first = args[0] if args else None
    last = len(builder.model.shapes.get(node.outputs[0], ())) - 1
    match node.op:
        case "MatMul" if args[0] is not None and args[1] is not None:
            return scores_of(args[0], args[1]) or attended(builder, args[0], args[1], node.name)
        case "Softmax" if isinstance(first, Scores) and node.attrs.get("axis", -1) in (-1, last):
            return softmax_of(builder, first, node.name)
        case "Transpose" if isinstance(first, Scores):
            return rearranged(first, node.attrs["perm"], 0)
        case "Reshape" if isinstance(first, Scores):
            return rearranged(first, [], builder.model.shapes[node.outputs[0]][-1])
        case "Mul" | "Div":
            return _scaled(node, args)
    return None


def _scaled(node: OnnxNode, args: Args) -> Value | None:
    """A layout or scores times a number, or divided by it."""
    value, factor = args
    if node.op == "Mul" and isinstance(value, torch.Tensor):
        value, factor = factor, value
    if not isinstance(value, Layout | Scores) or not isinstance(factor, torch.Tensor):
        return None
    if factor.numel() != 1 or float(factor) == 0:
        return None
    scale = float(factor)
    if node.op == "Div":
        scale = 1 / scale
    return replace(value, scale=value.scale * scale)
