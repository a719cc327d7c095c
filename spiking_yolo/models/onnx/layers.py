"""Layers and activation functions of ONNX as nodes of a Graph, whatever exporters make of them.

LAYERS says how each operator becomes a node.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.models.onnx.builder import Feature, GraphBuilder, Value
from spiking_yolo.models.onnx.file import OnnxNode

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
        sigmoid = model.node_of(factor, "Sigmoid")
        if sigmoid is not None and sigmoid.inputs[0] == name:
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
    attrs = _activation_attributes(node, args)
    if x is None or attrs is None or not 0 <= attrs["slope"] < 1:
        return None
    return builder.emit("activation", node.name, x, **attrs)


def _activation_attributes(node: OnnxNode, args: Args) -> dict[str, Any] | None:
    numbers = [arg.flatten() for arg in args[1:] if isinstance(arg, Tensor) and arg.numel()]
    match node.op:
        case "Relu":
            return {"slope": 0.0}
        case "LeakyRelu":
            return {"slope": float(node.attrs.get("alpha", 0.01))}
        case "Clip" if len(numbers) == 2 and numbers[0] == 0 and 0 < numbers[1] < torch.inf:
            return {"slope": 0.0, "cap": float(numbers[1])}
    return None


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
