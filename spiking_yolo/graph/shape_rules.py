"""The shape of every node by arithmetic, which costs no memory: also of graphs that could not be run.

All shapes here are without the batch axis: (C, H, W) of a map, (F,) of a vector.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from spiking_yolo.errors import UserError
from spiking_yolo.graph.graph import Graph, reached_padding

Shape = tuple[int, ...]
MOST = 1 << 28  # numbers in any map of one image: 1 GiB; 16 channels at 4096 x 4096 pixels


def shapes(graph: Graph, height: int, width: int) -> dict[str, torch.Size]:
    """Output shape of every node, [1, C, ...], for one image of height x width pixels.

    Raises UserError, naming the node, where inputs, weights and attributes do not fit or a map has more than MOST
    numbers.
    """
    known: dict[str, Shape] = {}
    for node in graph.nodes:
        weight, bias = (None if t is None else tuple(t.shape) for t in graph.parameters(node))
        inputs = [known[name] for name in node.inputs] if node.op != "input" else [(3, height, width)]
        try:
            made = RULES[node.op](node.attrs, weight, *inputs)
            if bias is not None and bias != made[:1]:
                raise ValueError(f"its bias has the shape {list(bias)}")
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            given = ", ".join("x".join(map(str, shape)) for shape in inputs)
            raise UserError(f"node {node.name!r} ({node.op}) does not fit its input of {given}: {error}") from error
        if not made or min(made) < 1 or math.prod(made) > MOST:
            size = "x".join(map(str, made))[:60]
            raise UserError(f"node {node.name!r} ({node.op}) makes a map of {size}: each needs 1 to {MOST} numbers")
        known[node.name] = made
    return {name: torch.Size((1, *shape)) for name, shape in known.items()}


def window_count(side: int, kernel: int, stride: int, dilation: int = 1, ceil: bool = False, before: int = 0) -> int:
    """How many windows fit into a side that has its padding, `before` at its start; torch's rule.

    ceil: one more for what is left, unless it would start in the padding at the end.
    """
    room = side - dilation * (kernel - 1) - 1
    count = (-(-room // stride) if ceil else room // stride) + 1
    count -= ceil and (count - 1) * stride >= side - before
    if count < 1:
        raise ValueError(f"a window of {dilation * (kernel - 1) + 1} does not fit into {side}")
    return count


def _conv(a: Mapping[str, Any], weight: Any, x: Shape) -> Shape:
    channels, height, width = x
    out, each, *kernel = weight
    if each * a["groups"] != channels or out % a["groups"]:
        raise ValueError(f"its weight {list(weight)} in {a['groups']} groups is for other channels")
    sides = zip((height, width), kernel, a["stride"], a["padding"], a["dilation"], strict=True)
    return out, *(window_count(side + 2 * p, k, s, d) for side, k, s, p, d in sides)


def _linear(a: Mapping[str, Any], weight: Any, x: Shape) -> Shape:
    out, features = weight
    if x != (features,):
        raise ValueError(f"its weight is for {features} features")
    return (out,)


def _max_pool(a: Mapping[str, Any], weight: Any, x: Shape) -> Shape:
    channels, *sides = x
    kernel, stride, ceil = a["kernel"], a["stride"], a["ceil"]
    left, right, top, bottom = reached_padding(x[1], x[2], kernel, stride, a["padding"], ceil)
    made = [channels]
    for side, k, s, before, after in zip(sides, kernel, stride, (top, left), (bottom, right), strict=True):
        count = window_count(side + before + after, k, s, ceil=ceil)
        if before >= k or (count - 1) * s - before >= side:
            raise ValueError("a window reaches only padding, whose maximum is minus infinity")
        made.append(count)
    return tuple(made)


def _avg_pool(a: Mapping[str, Any], weight: Any, x: Shape) -> Shape:
    channels, *sides = x
    made = [channels]
    for side, k, s, p in zip(sides, a["kernel"], a["stride"], a["padding"], strict=True):
        if 2 * p > k:
            raise ValueError("its padding is more than half of its window")
        made.append(window_count(side + 2 * p, k, s, ceil=a["ceil"], before=p))
    return tuple(made)


def _global_avg_pool(a: Mapping[str, Any], weight: Any, x: Shape) -> Shape:
    channels, _, _ = x
    return channels, 1, 1


def _upsample(a: Mapping[str, Any], weight: Any, x: Shape) -> Shape:
    channels, height, width = x
    return channels, height * a["scale"][0], width * a["scale"][1]


def _concat(a: Mapping[str, Any], weight: Any, *xs: Shape) -> Shape:
    if len({x[1:] for x in xs}) > 1:
        raise ValueError("what is joined differs in height or width")
    return sum(x[0] for x in xs), *xs[0][1:]


def _add(a: Mapping[str, Any], weight: Any, x: Shape, y: Shape) -> Shape:
    if x != y:
        raise ValueError("what is added differs in shape")
    return x


def _slice(a: Mapping[str, Any], weight: Any, x: Shape) -> Shape:
    if len(a["slices"]) > len(x):
        raise ValueError("it slices more axes than there are")
    cut = [len(range(side)[slice(*s)]) for side, s in zip(x, a["slices"], strict=False)]
    return (*cut, *x[len(cut) :])


def _pad(a: Mapping[str, Any], weight: Any, x: Shape) -> Shape:
    made = list(x)
    ends: Sequence[int] = a["padding"]
    for axis, (before, after) in enumerate(zip(ends[::2], ends[1::2], strict=True), 1):
        made[-axis] += before + after
    return tuple(made)


def _same(a: Mapping[str, Any], weight: Any, x: Shape) -> Shape:
    return x


# op -> f(attrs, shape of the weight, *shapes of the inputs); raises what its arithmetic raises where they do not fit.
RULES: dict[str, Callable[..., Shape]] = {
    "input": _same,
    "conv": _conv,
    "linear": _linear,
    "activation": _same,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_avg_pool": _global_avg_pool,
    "upsample": _upsample,
    "concat": _concat,
    "add": _add,
    "flatten": lambda a, weight, x: (math.prod(x),),
    "slice": _slice,
    "pad": _pad,
}
