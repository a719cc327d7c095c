"""A graph that nobody vouches for, checked once, when it is made or read; whatever runs it later takes it as sound."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from spiking_yolo.errors import UserError
from spiking_yolo.graph.graph import Graph, Node
from spiking_yolo.graph.node_shapes import shapes
from spiking_yolo.io.names import label, plain_name
from spiking_yolo.io.tensors import check_finite

FARTHEST = 1 << 16  # any stride, window, padding or number of levels
NODES = 10_000
Test = Callable[[Any], bool]


def check_graph(graph: Graph, height: int, width: int) -> dict[str, torch.Size]:
    """The shapes of every node for one image of height x width pixels, once the graph is known to be sound.

    Nothing is run and no memory taken. Raises UserError, naming the node and what is wrong with it.
    """
    if not 0 < len(graph.nodes) <= NODES or not graph.outputs:
        raise UserError(f"a network needs 1 to {NODES} nodes and an output, not {len(graph.nodes)}")
    if sum(node.op == "input" for node in graph.nodes) != 1 or len({n.name for n in graph.nodes}) < len(graph.nodes):
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
    if weight is not None and (weight.ndim != _WEIGHT_AXES[node.op] or not weight.is_floating_point()):
        raise UserError(f"{where} has a weight of {weight.ndim} axes and type {weight.dtype}")
    check_finite({what: t for what, t in (("weight", weight), ("bias", bias)) if t is not None}, where)


def _integer(least: int, most: int = FARTHEST) -> Test:
    return lambda v: type(v) is int and least <= v <= most


def _integers(count: int, least: int) -> Test:
    one = _integer(least)
    return lambda v: isinstance(v, list | tuple) and len(v) == count and all(map(one, v))


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
        and all(isinstance(s, list | tuple) and len(s) == 3 and end(s[0]) and end(s[1]) and step(s[2]) for s in value)
    )


def _paddings(value: Any) -> bool:
    return _integers(2, -FARTHEST)(value) or _integers(4, -FARTHEST)(value)


_INPUTS = {"input": (0, 0), "add": (2, 2), "concat": (1, 1000)}  # at least and at most, where it is not one
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
