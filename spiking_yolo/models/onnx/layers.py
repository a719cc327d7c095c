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
    if not isinstance(weight, Tensor) or weight.ndim != 4 or x is None:
        return None
    a = node.attrs
    bias: Value | None = torch.zeros(len(weight))
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = args[2]
    if not isinstance(bias, Tensor):
        return None
    padding = _padding(a)
    if padding is None or a.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    if padding[:2] != padding[2:]:
        x = builder.emit("pad", f"{node.name}_pad", x, padding=_by_side(padding))
        padding = [0, 0, 0, 0]
    geometry: dict[str, Any] = {
        "stride": a.get("strides", [1, 1]),
        "padding": padding[:2],
        "dilation": a.get("dilations", [1, 1]),
        "groups": a.get("group", 1),
    }
    weights = weight, bias
    if weight.shape[1] == x.shape[1]:
        x, weights = builder.without_scale(x, weights, any(padding))
        x, weights, geometry = builder.unfolded(x, weights, geometry)
    return builder.emit("conv", node.name, x, weights=weights, **geometry)


def _padding(attrs: Any) -> list[int] | None:
    """Top, left, bottom, right; None for negative ones, or for maps that have no two sides."""
    padding = attrs.get("pads", [0, 0, 0, 0])
    if len(padding) != 4 or min(padding) < 0:
        return None
    return padding


def _by_side(padding: list[int]) -> list[int]:
    """Left, right, top, bottom."""
    top, left, bottom, right = padding
    return [left, right, top, bottom]


def add(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    x, y = builder.feature(args[0]), builder.feature(args[1])
    if x is None or y is None:
        return _linear(builder, node, args)
    if x.shape != y.shape:
        return None
    return builder.emit("add", node.name, x, y)


def multiply(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    model = builder.model
    for x, name, factor in zip(args, node.inputs, node.inputs[::-1], strict=True):
        if not isinstance(x, Feature):
            continue
        sigmoid = model.node_of(factor, "Sigmoid")
        if sigmoid is not None and sigmoid.inputs[0] == name:
            return builder.emit("activation", node.name, x, slope=0.0, silu=True)
        tanh = model.node_of(factor, "Tanh")
        softplus = tanh and model.node_of(tanh.inputs[0], "Softplus")
        if softplus and softplus.inputs[0] == name:
            return builder.emit("activation", node.name, x, slope=0.0, mish=True)
    return _linear(builder, node, args)


def _linear(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    """A map and a constant, which is a number or one for each channel."""
    x, constant = args
    turned = isinstance(x, Tensor)
    if turned:
        x, constant = constant, x
    if not isinstance(x, Feature) or len(x.shape) != 4 or not isinstance(constant, Tensor):
        return None
    channels = x.shape[1]
    own = list(constant.shape)[-3:] in ([channels, 1, 1], [1, 1, 1])
    if constant.numel() != 1 and not (own and constant.numel() == channels):
        return None
    c = constant.flatten().expand(channels)
    one, zero = torch.ones_like(c), torch.zeros_like(c)
    match node.op:
        case "Add":
            return builder.scaled(x, one, c, node.name)
        case "Sub" if turned:
            return builder.scaled(x, -one, c, node.name)
        case "Sub":
            return builder.scaled(x, one, -c, node.name)
        case "Mul":
            return builder.scaled(x, c, zero, node.name)
        case "Div" if not turned:
            return builder.scaled(x, 1 / c, zero, node.name)
    return None


def activation(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    x = builder.feature(args[0])
    attrs = _activation_attributes(node, args)
    if x is None or attrs is None or not 0 <= attrs["slope"] <= 1:
        return None
    if attrs["slope"] == 1:
        # The identity, which an export of ours has where neurons stand.
        return x
    return builder.emit("activation", node.name, x, **attrs)


def _activation_attributes(node: OnnxNode, args: Args) -> dict[str, Any] | None:
    numbers = [arg.flatten() for arg in args[1:] if isinstance(arg, Tensor) and arg.numel()]
    match node.op:
        case "Relu":
            return {"slope": 0.0}
        case "LeakyRelu":
            return {"slope": float(node.attrs.get("alpha", 0.01))}
        case "PRelu" if numbers and numbers[0].min() == numbers[0].max():
            # A slope that was trained, one for all channels.
            return {"slope": float(numbers[0][0])}
        case "Clip" if len(numbers) == 2 and numbers[0] == 0 and 0 < numbers[1] < torch.inf:
            return {"slope": 0.0, "cap": float(numbers[1])}
        case "Swish" if node.attrs.get("alpha", 1.0) == 1:
            return {"slope": 0.0, "silu": True}
        case "Mish":
            return {"slope": 0.0, "mish": True}
    return None


def pool(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    a = node.attrs
    x = builder.feature(args[0])
    padding = _padding(a)
    flat = len(a.get("kernel_shape", [])) == 2 and a.get("dilations", [1, 1]) == [1, 1]
    if x is None or padding is None or not flat or a.get("auto_pad", "NOTSET") != "NOTSET":
        return None
    window = {
        "kernel": a["kernel_shape"],
        "stride": a.get("strides", [1, 1]),
        "ceil": bool(a.get("ceil_mode", 0)),
    }
    if node.op == "MaxPool":
        return builder.emit("max_pool", node.name, x, padding=_by_side(padding), **window)
    if padding[:2] != padding[2:]:
        return None
    counted = bool(a.get("count_include_pad", 0))
    return builder.emit(
        "avg_pool", node.name, x, padding=padding[:2], count_include_pad=counted, **window
    )


def global_pool(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    x = builder.feature(args[0])
    if x is None:
        return None
    return builder.emit("global_avg_pool", node.name, x)


def resize(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    """Nearest upsampling by whole factors, which repeats rows and columns."""
    x = builder.feature(args[0])
    sides = builder.model.shapes[node.outputs[0]]
    if x is None or node.attrs.get("mode", "nearest") != "nearest" or sides[:2] != x.shape[:2]:
        return None
    factors = [side // of for side, of in zip(sides[2:], x.shape[2:], strict=True)]
    whole = all(of * k == side for side, of, k in zip(sides[2:], x.shape[2:], factors, strict=True))
    if not whole or not all(1 <= k <= 8 and _repeats(k, node) for k in factors):
        return None
    return builder.emit("upsample", node.name, x, scale=factors)


def _repeats(factor: int, node: OnnxNode) -> bool:
    """Whether pixel i of the result is pixel i // factor, by the rule of ONNX' Resize."""
    if node.op == "Upsample":
        return True
    rule = node.attrs.get("coordinate_transformation_mode", "half_pixel")
    if rule not in ("asymmetric", "half_pixel", "pytorch_half_pixel"):
        return False
    place = torch.arange(8 * factor)
    shift = 0.0 if rule == "asymmetric" else 0.5
    exact = (place + shift) / factor - shift
    match node.attrs.get("nearest_mode", "round_prefer_floor"):
        case "floor":
            nearest = exact.floor()
        case "ceil":
            nearest = exact.ceil()
        case "round_prefer_ceil":
            nearest = (exact + 0.5).floor()
        case _:
            nearest = (exact - 0.5).ceil()
    return torch.equal(nearest.clamp(0, 7).long(), place // factor)


def concat(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    maps: list[Feature] = []
    for arg in args:
        feature = builder.feature(arg)
        if feature is None or len(feature.shape) != 4:
            return None
        maps.append(feature)
    if node.attrs["axis"] not in (1, -3):
        return None
    if len(maps) == 1:
        return maps[0]
    return builder.emit("concat", node.name, *maps)


def split(builder: GraphBuilder, node: OnnxNode, args: Args) -> list[Value] | None:
    x = args[0]
    if not isinstance(x, Feature) or len(x.shape) != 4 or node.attrs.get("axis", 0) not in (1, -3):
        return None
    parts: list[Value] = []
    start = 0
    for k, output in enumerate(node.outputs):
        stop = start + builder.model.shapes[output][1]
        parts.append(builder.emit("slice", f"{node.name}_{k}", x, slices=[[start, stop, 1]]))
        start = stop
    return parts


def cut(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    """A slice of channels, or of every second row and column."""
    x = args[0]
    numbers = [arg.tolist() for arg in args[1:] if isinstance(arg, Tensor)]
    if not isinstance(x, Feature) or len(x.shape) != 4 or len(numbers) < len(args) - 1:
        return None
    starts, ends = numbers[:2]
    axes, steps = list(range(len(starts))), [1] * len(starts)
    if len(numbers) > 2:
        axes = numbers[2]
    if len(numbers) > 3:
        steps = numbers[3]
    slices: list[list[int | None]] = [[0, None, 1] for _ in range(3)]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if axis % 4 == 0 or step < 1:
            return None
        side = x.shape[axis % 4]
        first, last, _ = slice(start, end, step).indices(side)
        slices[axis % 4 - 1] = [first, None if last == side else last, step]
    before = builder.nodes[x.node]
    if before.op == "slice" and len(before.attrs["slices"]) == 3:
        # Rows first, then columns: one slice of both.
        whole = [0, None, 1]
        pairs = list(zip(before.attrs["slices"], slices, strict=True))
        if all(whole in pair for pair in pairs):
            slices = [one if other == whole else other for one, other in pairs]
            x = builder.features[before.inputs[0]]
    return builder.emit("slice", node.name, x, slices=slices)


def pad(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    if len(args) > 3:
        return None
    x = builder.feature(args[0])
    pads, value = (*args[1:], None, None)[:2]
    if x is None or not isinstance(pads, Tensor) or pads.numel() != 8:
        return None
    zero = value is None or (isinstance(value, Tensor) and not bool(value.any()))
    sides: list[int] = pads.tolist()
    if node.attrs.get("mode", "constant") != "constant" or not zero or any(sides[:2] + sides[4:6]):
        return None
    return builder.emit("pad", node.name, x, padding=_by_side(sides[2:4] + sides[6:8]))


# Operator -> f(nodes so far, ONNX node, its inputs): a map or maps, None if it has no counterpart.
LAYERS: dict[str, Callable[[GraphBuilder, OnnxNode, Args], Feature | list[Value] | None]] = {
    "Conv": conv,
    "Add": add,
    "Sub": _linear,
    "Mul": multiply,
    "Div": _linear,
    "Relu": activation,
    "LeakyRelu": activation,
    "PRelu": activation,
    "Clip": activation,
    "Swish": activation,
    "Mish": activation,
    "MaxPool": pool,
    "AveragePool": pool,
    "GlobalAveragePool": global_pool,
    "Resize": resize,
    "Upsample": resize,
    "Concat": concat,
    "Split": split,
    "Slice": cut,
    "Pad": pad,
}
