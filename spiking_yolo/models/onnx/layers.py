"""Layers and activation functions of ONNX as nodes of a Graph, whatever exporters make of them.

LAYERS says how each operator becomes a node.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.models.onnx.builder import GraphBuilder
from spiking_yolo.models.onnx.file import OnnxNode
from spiking_yolo.models.onnx.values import Feature, Unresolved, Value

Args = Sequence[Value | None]


def conv(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    x = builder.feature(args[0])
    weight = args[1]
    bias = args[2] if len(args) > 2 else None
    if not isinstance(weight, Tensor) or weight.ndim != 4 or x is None:
        return None
    a = node.attrs
    if bias is None:
        bias = torch.zeros(len(weight))
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
    return padding if len(padding) == 4 and min(padding) >= 0 else None


def _by_side(padding: list[int]) -> list[int]:
    """Left, right, top, bottom."""
    top, left, bottom, right = padding
    return [left, right, top, bottom]


def batch_norm(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    x = builder.feature(args[0])
    numbers = [arg for arg in args[1:5] if isinstance(arg, Tensor)]
    if x is None or [len(values) for values in numbers] != [x.shape[1]] * 4:
        return None
    gamma, beta, mean, variance = numbers
    scale = gamma / (variance + node.attrs.get("epsilon", 1e-5)).sqrt()
    return builder.scaled(x, scale, beta - mean * scale, node.name)


def add(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    x, y = builder.feature(args[0]), builder.feature(args[1])
    if x is not None and y is not None:
        return builder.emit("add", node.name, x, y) if x.shape == y.shape else None
    return _linear(builder, node, args, lambda c: (torch.ones_like(c), c))


def subtract(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    if isinstance(args[0], Tensor):
        return _linear(builder, node, args, lambda c: (-torch.ones_like(c), c))
    return _linear(builder, node, args, lambda c: (torch.ones_like(c), -c))


def multiply(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    for x, factor in (tuple(args), tuple(args[::-1])):
        if not isinstance(x, Feature) or not isinstance(factor, Unresolved):
            continue
        if _is(factor, "Sigmoid", x):
            return builder.emit("activation", node.name, x, slope=0.0, silu=True)
        inner = factor.args[0] if factor.node.op == "Tanh" else None
        if isinstance(inner, Unresolved) and _is(inner, "Softplus", x):
            return builder.emit("activation", node.name, x, slope=0.0, mish=True)
    return _linear(builder, node, args, lambda c: (c, torch.zeros_like(c)))


def divide(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    if isinstance(args[0], Tensor):
        return None
    return _linear(builder, node, args, lambda c: (1 / c, torch.zeros_like(c)))


def _is(value: Unresolved, op: str, x: Feature) -> bool:
    return value.node.op == op and value.args == (x,)


def _linear(
    builder: GraphBuilder,
    node: OnnxNode,
    args: Args,
    numbers: Callable[[Tensor], tuple[Tensor, Tensor]],
) -> Feature | None:
    """A map and a constant, which is a number or one for each channel; numbers: from the constant
    to scale and shift.
    """
    for x, constant in (tuple(args), tuple(args[::-1])):
        if not isinstance(x, Feature) or len(x.shape) != 4 or not isinstance(constant, Tensor):
            continue
        channels = x.shape[1]
        own = list(constant.shape)[-3:] in ([channels, 1, 1], [1, 1, 1])
        if constant.numel() != 1 and not (own and constant.numel() == channels):
            return None
        values = constant.flatten().expand(channels)
        return builder.scaled(x, *numbers(values), node.name)
    return None


def relu(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    return _activation(builder, node, args, slope=0.0)


def leaky(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    slope = float(node.attrs.get("alpha", 0.01))
    if slope == 1:
        # The identity, which an export of ours has where neurons stand.
        return builder.feature(args[0])
    return _activation(builder, node, args, slope=slope) if 0 <= slope < 1 else None


def prelu(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    """A slope that was trained, where it is one for all channels."""
    slopes = args[1]
    if not isinstance(slopes, Tensor) or slopes.numel() == 0 or slopes.min() != slopes.max():
        return None
    slope = float(slopes.flatten()[0])
    return _activation(builder, node, args, slope=slope) if 0 <= slope < 1 else None


def clip(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    bounds = [float(arg) for arg in args[1:] if isinstance(arg, Tensor) and arg.numel() == 1]
    if len(bounds) != 2 or bounds[0] != 0 or not 0 < bounds[1] < float("inf"):
        return None
    return _activation(builder, node, args, slope=0.0, cap=bounds[1])


def swish(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    if node.attrs.get("alpha", 1.0) != 1:
        return None
    return _activation(builder, node, args, slope=0.0, silu=True)


def mish(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    return _activation(builder, node, args, slope=0.0, mish=True)


def _activation(builder: GraphBuilder, node: OnnxNode, args: Args, **attrs: Any) -> Feature | None:
    x = builder.feature(args[0])
    return None if x is None else builder.emit("activation", node.name, x, **attrs)


def pool(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    a = node.attrs
    source, border = _without_border(args[0]) if node.op == "MaxPool" else (args[0], [0] * 4)
    x = builder.feature(source)
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
        sides = [own + before for own, before in zip(padding, border, strict=True)]
        return builder.emit("max_pool", node.name, x, padding=_by_side(sides), **window)
    if padding[:2] != padding[2:]:
        return None
    counted = bool(a.get("count_include_pad", 0))
    return builder.emit(
        "avg_pool", node.name, x, padding=padding[:2], count_include_pad=counted, **window
    )


def _without_border(value: Value | None) -> tuple[Value | None, list[int]]:
    """What a border of minus infinity was put around, and its sides: top, left, bottom, right."""
    none = [0, 0, 0, 0]
    if not isinstance(value, Unresolved) or value.node.op != "Pad" or len(value.args) != 3:
        return value, none
    inner, pads, fill = value.args
    if not isinstance(pads, Tensor) or not isinstance(fill, Tensor):
        return value, none
    if pads.numel() != 8 or fill.numel() != 1 or float(fill) != -torch.inf:
        return value, none
    sides: list[int] = pads.tolist()
    if value.node.attrs.get("mode", "constant") != "constant" or any(sides[:2] + sides[4:6]):
        return value, none
    border = sides[2:4] + sides[6:8]
    return (inner, border) if min(border) >= 0 else (value, none)


def global_pool(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    x = builder.feature(args[0])
    return None if x is None else builder.emit("global_avg_pool", node.name, x)


def resize(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    """Nearest upsampling by whole factors, which repeats rows and columns."""
    x = builder.feature(args[0])
    a = node.attrs
    if x is None or a.get("mode", "nearest") != "nearest" or len(args) < 2:
        return None
    scales = args[2] if len(args) > 2 else args[1]
    sizes = args[3] if len(args) > 3 else None
    if isinstance(sizes, Tensor) and sizes.numel() == 4:
        factors = [side / of for side, of in zip(sizes.tolist(), x.shape, strict=True)]
    elif isinstance(scales, Tensor) and scales.numel() == 4:
        factors = scales.tolist()
    else:
        return None
    repeats = [int(factor) for factor in factors]
    if repeats != factors or repeats[:2] != [1, 1] or not 1 <= min(repeats) <= max(repeats) <= 8:
        return None
    if not all(_repeats(factor, node) for factor in repeats[2:]):
        return None
    return builder.emit("upsample", node.name, x, scale=repeats[2:])


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
    return maps[0] if len(maps) == 1 else builder.emit("concat", node.name, *maps)


def split(builder: GraphBuilder, node: OnnxNode, args: Args) -> list[Value] | None:
    x = args[0]
    axis = node.attrs.get("axis", 0)
    if not isinstance(x, Feature) or len(x.shape) != 4 or axis not in (1, -3):
        return None
    sizes = args[1] if len(args) > 1 else None
    if isinstance(sizes, Tensor):
        counts = sizes.tolist()
    else:
        count = node.attrs["num_outputs"]
        counts = node.attrs.get("split") or [-(-x.shape[1] // count)] * count
    parts: list[Value] = []
    start = 0
    for k, count in enumerate(counts):
        stop = min(start + count, x.shape[1])
        parts.append(builder.emit("slice", f"{node.name}_{k}", x, slices=[[start, stop, 1]]))
        start = stop
    return parts


def cut(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    """A slice of channels, or of every second row and column."""
    x = args[0]
    numbers = [arg.tolist() for arg in args[1:] if isinstance(arg, Tensor) and arg.numel() <= 4]
    if not isinstance(x, Feature) or len(x.shape) != 4 or len(numbers) != len(args) - 1:
        return None
    starts, ends = numbers[:2]
    axes = numbers[2] if len(numbers) > 2 else list(range(len(starts)))
    steps = numbers[3] if len(numbers) > 3 else [1] * len(starts)
    slices: list[list[int | None]] = [[0, None, 1] for _ in range(3)]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if axis % 4 == 0 or step < 1:
            return None
        side = x.shape[axis % 4]
        first, last, _ = slice(start, end, step).indices(side)
        slices[axis % 4 - 1] = [first, None if last == side else last, step]
    return _joined_slice(builder, node.name, x, slices)


def _joined_slice(
    builder: GraphBuilder, name: str, x: Feature, slices: list[list[int | None]]
) -> Feature:
    """A slice as a node, joined with one before it of other axes: rows first, then columns."""
    before = builder.nodes[x.node]
    whole = [0, None, 1]
    if before.op == "slice":
        pairs = list(zip(before.attrs["slices"], slices, strict=False))
        if len(pairs) == 3 and all(whole in pair for pair in pairs):
            joined = [one if other == whole else other for one, other in pairs]
            return builder.emit("slice", name, builder.features[before.inputs[0]], slices=joined)
    return builder.emit("slice", name, x, slices=slices)


def pad(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature | None:
    x = builder.feature(args[0])
    pads = args[1] if len(args) > 1 else None
    value = args[2] if len(args) > 2 else None
    if x is None or not isinstance(pads, Tensor) or pads.numel() != 8 or len(args) > 3:
        return None
    zero = value is None or (isinstance(value, Tensor) and not bool(value.any()))
    sides: list[int] = pads.tolist()
    if node.attrs.get("mode", "constant") != "constant" or not zero or any(sides[:2] + sides[4:6]):
        return None
    return builder.emit("pad", node.name, x, padding=_by_side(sides[2:4] + sides[6:8]))


# Operator -> f(nodes so far, ONNX node, its inputs): a map or maps, None if it has no counterpart.
LAYERS: dict[str, Callable[[GraphBuilder, OnnxNode, Args], Feature | list[Value] | None]] = {
    "Conv": conv,
    "BatchNormalization": batch_norm,
    "Add": add,
    "Sub": subtract,
    "Mul": multiply,
    "Div": divide,
    "Relu": relu,
    "LeakyRelu": leaky,
    "PRelu": prelu,
    "Clip": clip,
    "Swish": swish,
    "Mish": mish,
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
