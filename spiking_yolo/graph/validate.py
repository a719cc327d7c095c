"""The shape of every node, by PyTorch's meta device: nothing is computed, whatever a graph asks for
takes no memory.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.graph.graph import OPS, Graph, Node, reached_padding
from spiking_yolo.io.names import label, plain_name, reason
from spiking_yolo.io.tensors import check_finite

# Of one image, at most: numbers in any map (1 GiB; 16 channels at 4096 x 4096 pixels), in all of
# them, and multiply-accumulates, of which YOLOv8x takes 2^37 at 640 pixels.
MOST, MOST_IN_ALL, MOST_MACS = 1 << 28, 1 << 31, 1 << 41


def shapes(graph: Graph, height: int, width: int) -> dict[str, torch.Size]:
    """Output shape of every node, [1, C, ...], for one image of height x width pixels.

    Raises UserError, naming the node, where inputs, weights and attributes do not fit, or a map has
    more than MOST numbers, and for a network that is larger than any detector.
    """
    known: dict[str, Tensor] = {}
    numbers = macs = 0
    for node in graph.nodes:
        weight, bias = graph.parameters(node)
        if weight is not None:
            weight = _meta(*weight.shape)
        if bias is not None:
            bias = _meta(*bias.shape)
        inputs = [known[name] for name in node.inputs]
        if node.op == "input":
            inputs = [_meta(1, 3, height, width)]
        try:
            made = OPS[node.op](node.attrs, weight, bias, *inputs)
            if (bias is not None and bias.shape != made.shape[1:2]) or not _fits(
                node, weight, inputs, made
            ):
                raise ValueError("its weight, its window or its inputs are of other shapes")
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            given = ", ".join(map(_size, inputs))
            said = reason(error)[:80]
            raise UserError(
                f"node {node.name!r} ({node.op}) does not fit its input of {given}: {said}"
            ) from error
        if not 0 < made.numel() <= MOST:
            size = _size(made)[:60]
            raise UserError(
                f"node {node.name!r} ({node.op}) makes a map of {size}: each needs 1 to {MOST}"
                " numbers"
            )
        known[node.name] = made
        numbers += made.numel()
        macs += made.numel() * (0 if weight is None else weight[0].numel())
        if numbers > MOST_IN_ALL or macs > MOST_MACS:
            raise UserError(
                f"node {node.name!r} ({node.op}): up to here an image of {height} x {width} pixels"
                f" takes {numbers} numbers and {macs} multiply-accumulates, more than any detector:"
                " give a smaller network or --imgsz"
            )
    return {name: made.shape for name, made in known.items()}


def _fits(node: Node, weight: Tensor | None, inputs: list[Tensor], made: Tensor) -> bool:
    """What PyTorch lets pass here, and no network may have: broadcasting, and a window that reaches
    only padding, whose maximum is minus infinity.
    """
    x, a = inputs[0], node.attrs
    if node.op == "max_pool":
        left, _, top, _ = reached_padding(
            x.shape[2], x.shape[3], a["kernel"], a["stride"], a["padding"], a["ceil"]
        )
        axes = zip(x.shape[2:], made.shape[2:], a["kernel"], a["stride"], (top, left), strict=True)
        return all(
            before < k and (count - 1) * s - before < side for side, count, k, s, before in axes
        )
    if node.op == "conv" and weight is not None:
        return len(weight) % a["groups"] == 0
    return {"add": x.shape == inputs[-1].shape, "linear": x.ndim == 2}.get(node.op, True)


def _meta(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def _size(x: Tensor) -> str:
    return "x".join(map(str, x.shape[1:]))


# Any stride, window, padding or number of levels.
FARTHEST = 1 << 16
NODES = 10_000
Test = Callable[[Any], bool]


def check_graph(graph: Graph, height: int, width: int) -> dict[str, torch.Size]:
    """The shapes of every node for one image of height x width pixels, once the graph is known to
    be sound.

    Nothing is run and no memory taken. Raises UserError, naming the node and what is wrong with it.
    """
    if not 0 < len(graph.nodes) <= NODES or not graph.outputs:
        raise UserError(f"a network needs 1 to {NODES} nodes and an output, not {len(graph.nodes)}")
    if sum(node.op == "input" for node in graph.nodes) != 1 or len(
        {n.name for n in graph.nodes}
    ) < len(graph.nodes):
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
    tests, given = _ATTRIBUTES.get(node.op, {}), node.attrs
    missing = set() if node.op == "activation" else tests.keys() - given.keys()
    if wrong := sorted(missing | (given.keys() - tests.keys()), key=str):
        raise UserError(f"{where} lacks or does not know the attribute {label(wrong[0])!r}")
    for key, value in given.items():
        if not tests[key](value):
            raise UserError(f"{where}: {key} cannot be {label(value)}")
    weight, bias = graph.parameters(node)
    if (weight is not None) != (node.op in _WEIGHT_AXES) or (weight is None and bias is not None):
        raise UserError(f"{where} lacks a weight, or has one that it does not need")
    if weight is not None and (
        weight.ndim != _WEIGHT_AXES[node.op] or not weight.is_floating_point()
    ):
        raise UserError(f"{where} has a weight of {weight.ndim} axes and type {weight.dtype}")
    check_finite(
        {what: t for what, t in (("weight", weight), ("bias", bias)) if t is not None}, where
    )


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
    end, step = _or_none(_integer(-(1 << 31), 1 << 31)), _or_none(_integer(1))
    return (
        isinstance(value, list | tuple)
        and 0 < len(value) <= 3
        and all(
            isinstance(s, list | tuple) and len(s) == 3 and end(s[0]) and end(s[1]) and step(s[2])
            for s in value
        )
    )


def _paddings(value: Any) -> bool:
    return _integers(2, -FARTHEST)(value) or _integers(4, -FARTHEST)(value)


# At least and at most, where it is not one.
_INPUTS = {"input": (0, 0), "add": (2, 2), "concat": (1, 1000)}
_WEIGHT_AXES = {"conv": 4, "linear": 2}
_POSITIVE, _BORDER = _integers(2, 1), _integers(2, 0)
_WINDOW: Mapping[str, Test] = {"kernel": _POSITIVE, "stride": _POSITIVE, "ceil": _boolean}
# op -> attribute -> whether a value will do. Those of an activation may be left out.
_ATTRIBUTES: dict[str, Mapping[str, Test]] = {
    "conv": {"stride": _POSITIVE, "padding": _BORDER, "dilation": _POSITIVE, "groups": _integer(1)},
    "activation": {
        "slope": _number(0, 1),
        "cap": _or_none(_number(1e-30, 1e30)),
        "levels": _or_none(_integer(1)),
        "silu": _boolean,
    },
    "max_pool": {**_WINDOW, "padding": _integers(4, 0)},
    "avg_pool": {**_WINDOW, "padding": _BORDER, "count_include_pad": _boolean},
    "upsample": {"scale": _POSITIVE},
    "slice": {"slices": _slices},
    "pad": {"padding": _paddings},
}
