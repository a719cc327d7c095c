"""Validation of untrusted graphs, once on load: attributes, names, weights and the shape of every
node, which PyTorch's meta device gives without computing or allocating anything.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.graph.graph import OPS, PRODUCTS, Graph, Node, product_fan_out, reached_padding
from spiking_yolo.io.names import label, plain_name, reason
from spiking_yolo.io.tensors import check_finite

# Of one image, at most: numbers in any map (1 GiB; 16 channels at 4096 x 4096 pixels), in all of
# them, and multiply-accumulates, of which YOLOv8x takes 2^37 at 640 pixels.
MAX_NUMBERS, MAX_NUMBERS_IN_ALL, MAX_MACS = 1 << 28, 1 << 31, 1 << 41


def shapes(graph: Graph, height: int, width: int) -> dict[str, torch.Size]:
    """Output shape of every node, [1, C, ...], for one image of height x width pixels.

    Raises:
        UserError: Inputs, weights and attributes of a node do not fit, a map has too many
            numbers, or the network is larger than any detector. The message names the node.
    """
    maps: dict[str, Tensor] = {}
    numbers = 0
    macs = 0
    for node in graph.nodes:
        weight, bias = graph.parameters(node)
        if weight is not None:
            weight = _meta(*weight.shape)
        if bias is not None:
            bias = _meta(*bias.shape)
        inputs = [maps[name] for name in node.inputs]
        if node.op == "input":
            inputs = [_meta(1, 3, height, width)]
        try:
            output = OPS[node.op](node.attrs, weight, bias, *inputs)
            bias_fits = bias is None or bias.shape == output.shape[1:2]
            if not bias_fits or not _fits(node, weight, inputs, output):
                raise ValueError("its weight, its window or its inputs are of other shapes")
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            sizes = ", ".join(map(_size, inputs))
            problem = reason(error)[:80]
            raise UserError(
                f"node {node.name!r} ({node.op}) does not fit its input of {sizes}: {problem}"
            ) from error
        if not 0 < output.numel() <= MAX_NUMBERS:
            size = _size(output)[:60]
            raise UserError(
                f"node {node.name!r} ({node.op}) makes a map of {size}: each needs 1 to"
                f" {MAX_NUMBERS} numbers"
            )
        maps[node.name] = output
        numbers += output.numel()
        if weight is not None:
            macs += output.numel() * weight[0].numel()
        if node.product:
            macs += inputs[0].numel() * product_fan_out(node, *(x.shape for x in inputs))[0]
        if numbers > MAX_NUMBERS_IN_ALL or macs > MAX_MACS:
            raise UserError(
                f"node {node.name!r} ({node.op}): up to here an image of {height} x {width} pixels"
                f" takes {numbers} numbers and {macs} multiply-accumulates, more than any detector:"
                " give a smaller network or --imgsz"
            )
    return {name: x.shape for name, x in maps.items()}


def _fits(node: Node, weight: Tensor | None, inputs: list[Tensor], output: Tensor) -> bool:
    """Refuse what PyTorch accepts here but no network may have: broadcasting, and a window that
    covers only padding, whose maximum is minus infinity.
    """
    x = inputs[0]
    a = node.attrs
    match node.op:
        case "max_pool":
            left, _, top, _ = reached_padding(
                x.shape[2], x.shape[3], a["kernel"], a["stride"], a["padding"], a["ceil"]
            )
            for axis, before in enumerate((top, left)):
                last = (output.shape[2 + axis] - 1) * a["stride"][axis] - before
                if before >= a["kernel"][axis] or last >= x.shape[2 + axis]:
                    return False
            return True
        case "conv":
            return weight is None or len(weight) % a["groups"] == 0
        case "add":
            return x.shape == inputs[-1].shape
        case "linear":
            return x.ndim == 2
        case "attention_scores":
            return x.ndim == 4 and x.shape == inputs[1].shape
        case "attend":
            tokens = math.prod(inputs[1].shape[2:])
            return x.shape[1:] == (a["heads"], tokens, tokens // a["areas"])
        case "activation" if a.get("softmax"):
            return x.ndim == 4
    return True


def _meta(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def _size(x: Tensor) -> str:
    return "x".join(map(str, x.shape[1:]))


# Largest stride, window, padding or number of levels.
FARTHEST = 1 << 16
NODES = 10_000
Test = Callable[[Any], bool]


def check_graph(graph: Graph, height: int, width: int) -> dict[str, torch.Size]:
    """Validate an untrusted graph, without computing or allocating anything.

    Returns:
        The shape of every node for one image of height x width pixels.

    Raises:
        UserError: The graph is not sound; the message names the node and its fault.
    """
    if not 0 < len(graph.nodes) <= NODES or not graph.outputs:
        raise UserError(f"a network needs 1 to {NODES} nodes and an output, not {len(graph.nodes)}")
    names = {node.name for node in graph.nodes}
    inputs = [node for node in graph.nodes if node.op == "input"]
    if len(inputs) != 1 or len(names) < len(graph.nodes):
        raise UserError("a network needs one input, and another name for every node")
    for node in graph.nodes:
        _check_node(graph, node)
    if len({t.dtype for t in graph.tensors.values()}) > 1:
        raise UserError("the weights of a network must be of one type")
    return shapes(graph, height, width)


def _check_node(graph: Graph, node: Node) -> None:
    where = f"node {label(node.name)!r} ({node.op})"
    plain_name(node.name, "a node")
    least, most = _INPUTS.get(node.op, (1, 1))
    if not least <= len(node.inputs) <= most:
        raise UserError(f"{where} has {len(node.inputs)} inputs")
    tests = _ATTRIBUTES.get(node.op, {})
    wrong = node.attrs.keys() - tests.keys()
    if node.op != "activation":
        wrong = wrong | (tests.keys() - node.attrs.keys())
    if wrong:
        name = label(min(wrong, key=str))
        raise UserError(f"{where} lacks or does not know the attribute {name!r}")
    for key, value in node.attrs.items():
        if not tests[key](value):
            raise UserError(f"{where}: {key} cannot be {label(value)}")
    if node.attrs.get("softmax") and graph[node.inputs[0]].op != "attention_scores":
        raise UserError(
            f"{where}: its softmax reads {label(node.inputs[0])!r}, which is no scores of attention"
        )
    if node.op == "attend" and not graph[node.inputs[0]].attrs.get("softmax"):
        raise UserError(f"{where} reads {label(node.inputs[0])!r} as weights, which is no softmax")
    weight, bias = graph.parameters(node)
    if (weight is not None) != (node.op in _WEIGHT_AXES) or (weight is None and bias is not None):
        raise UserError(f"{where} lacks a weight, or has one that it does not need")
    if weight is None:
        return
    if weight.ndim != _WEIGHT_AXES[node.op] or not weight.is_floating_point():
        raise UserError(f"{where} has a weight of {weight.ndim} axes and type {weight.dtype}")
    tensors = {"weight": weight}
    if bias is not None:
        tensors["bias"] = bias
    check_finite(tensors, where)


def _integer(least: int, most: int = FARTHEST) -> Test:
    return lambda v: type(v) is int and least <= v <= most


def _integers(count: int, least: int) -> Test:
    def test(v: Any) -> bool:
        if not isinstance(v, list | tuple) or len(v) != count or set(map(type, v)) != {int}:
            return False
        return least <= min(v) and max(v) <= FARTHEST

    return test


def _number(low: float, high: float) -> Test:
    return lambda v: type(v) in (int, float) and low <= v <= high


def _or_none(test: Test) -> Test:
    return lambda v: v is None or test(v)


def _boolean(value: Any) -> bool:
    return type(value) is bool


def _slices(value: Any) -> bool:
    end = _or_none(_integer(-(1 << 31), 1 << 31))
    step = _or_none(_integer(1))
    if not isinstance(value, list | tuple) or not 0 < len(value) <= 3:
        return False
    for part in value:
        if not isinstance(part, list | tuple) or len(part) != 3:
            return False
        if not (end(part[0]) and end(part[1]) and step(part[2])):
            return False
    return True


def _paddings(value: Any) -> bool:
    return _integers(2, -FARTHEST)(value) or _integers(4, -FARTHEST)(value)


# Fewest and most inputs, for operations that do not have one.
_INPUTS = {
    "input": (0, 0),
    "add": (2, 2),
    "concat": (1, 1000),
    **dict.fromkeys(PRODUCTS, (2, 2)),
}
_WEIGHT_AXES = {"conv": 4, "linear": 2}
_POSITIVE, _BORDER = _integers(2, 1), _integers(2, 0)
_WINDOW: Mapping[str, Test] = {"kernel": _POSITIVE, "stride": _POSITIVE, "ceil": _boolean}
# op -> attribute -> test of its value. Attributes of an activation may be missing.
_ATTRIBUTES: dict[str, Mapping[str, Test]] = {
    "conv": {"stride": _POSITIVE, "padding": _BORDER, "dilation": _POSITIVE, "groups": _integer(1)},
    "activation": {
        "slope": _number(0, 1),
        "cap": _or_none(_number(1e-30, 1e30)),
        "levels": _or_none(_integer(1)),
        "silu": _boolean,
        "mish": _boolean,
        "softmax": _boolean,
    },
    "max_pool": {**_WINDOW, "padding": _integers(4, 0)},
    "avg_pool": {**_WINDOW, "padding": _BORDER, "count_include_pad": _boolean},
    "upsample": {"scale": _POSITIVE},
    "slice": {"slices": _slices},
    "pad": {"padding": _paddings},
    **{op: {"heads": _integer(1), "areas": _integer(1)} for op in PRODUCTS},
}
