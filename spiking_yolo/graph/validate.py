"""Validation of untrusted graphs, once on load: attributes, names, weights and the shape of every
node, which PyTorch's meta device gives without computing or allocating anything.
"""

import math

import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.graph.graph import OPS, PRODUCTS, Activation, Graph, Node, reached_padding
from spiking_yolo.io.names import label, plain_name, reason
from spiking_yolo.io.tensors import check_finite

# What PyTorch and Python raise for arguments that do not fit.
ERRORS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
# In any map of one image, at most: 1 GiB; 16 channels at 4096 x 4096 pixels.
MAX_NUMBERS = 1 << 28


def shapes(graph: Graph, height: int, width: int) -> dict[str, torch.Size]:
    """Output shape of every node, [1, C, ...], for one image of height x width pixels.

    Raises:
        UserError: Inputs, weights and attributes of a node do not fit, or a map has too many
            numbers. The message names the node.
    """
    maps: dict[str, Tensor] = {}
    for node in graph.nodes:
        weight, bias = graph.parameters(node)
        if weight is not None:
            weight = _meta(*weight.shape)
        if bias is not None:
            bias = _meta(*bias.shape)
        inputs = [maps[name] for name in node.inputs] or [_meta(1, 3, height, width)]
        try:
            output = OPS[node.op](node.attrs, weight, bias, *inputs)
            bias_fits = bias is None or bias.shape == output.shape[1:2]
            if not bias_fits or not _fits(node, weight, inputs, output):
                raise ValueError("its weight, its window or its inputs are of other shapes")
        except ERRORS as error:
            sizes = ", ".join(map(_size, inputs))
            raise UserError(
                f"node {node.name!r} ({node.op}) does not fit its input of {sizes}:"
                f" {reason(error)[:80]}"
            ) from error
        if not 0 < output.numel() <= MAX_NUMBERS:
            raise UserError(
                f"node {node.name!r} ({node.op}) makes a map of {_size(output)[:60]}: each needs 1"
                f" to {MAX_NUMBERS} numbers"
            )
        maps[node.name] = output
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


# At most.
NODES, MAX_LEVELS = 10_000, 1 << 16


def check_graph(graph: Graph, height: int, width: int) -> dict[str, torch.Size]:
    """Validate an untrusted graph, without computing or allocating anything.

    Returns:
        The shape of every node for one image of height x width pixels.

    Raises:
        UserError: The graph is not sound; the message names the node and its fault.
    """
    if not 0 < len(graph.nodes) <= NODES or not graph.outputs:
        raise UserError(f"a network needs 1 to {NODES} nodes and an output, not {len(graph.nodes)}")
    names: set[str] = set()
    inputs = 0
    for node in graph.nodes:
        names.add(node.name)
        inputs += node.op == "input"
    if inputs != 1 or len(names) < len(graph.nodes):
        raise UserError("a network needs one input, and another name for every node")
    for node in graph.nodes:
        _check_node(graph, node)
    if len({t.dtype for t in graph.tensors.values()}) > 1:
        raise UserError("the weights of a network must be of one type")
    return shapes(graph, height, width)


def _check_node(graph: Graph, node: Node) -> None:
    where = f"node {label(node.name)!r} ({node.op})"
    plain_name(node.name, "a node")
    if (len(node.inputs) == 0) != (node.op == "input"):
        raise UserError(f"{where} has {len(node.inputs)} inputs")
    for key in node.attrs:
        if node.op not in _ATTRIBUTES or key not in _ATTRIBUTES[node.op]:
            raise UserError(f"{where} does not know the attribute {label(key)!r}")
    if not _attributes_are_sound(node):
        raise UserError(f"{where}: its attributes cannot be {label(node.attrs)}")
    if node.attrs.get("softmax") and graph[node.inputs[0]].op != "attention_scores":
        raise UserError(
            f"{where}: its softmax reads {label(node.inputs[0])!r}, which is no scores of attention"
        )
    if node.op == "attend" and not graph[node.inputs[0]].attrs.get("softmax"):
        raise UserError(f"{where} reads {label(node.inputs[0])!r} as weights, which is no softmax")
    weight, bias = graph.parameters(node)
    if (weight is not None) != node.weighted or (weight is None and bias is not None):
        raise UserError(f"{where} lacks a weight, or has one that it does not need")
    for key, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None:
            if not tensor.is_floating_point():
                raise UserError(f"{where} has a {key} of type {tensor.dtype}")
            check_finite({key: tensor}, where)


def _attributes_are_sound(node: Node) -> bool:
    """Whether sides are two whole numbers, or four, and an activation is one that is known."""
    for key in _PAIRS:
        value = node.attrs.get(key, (0, 0))
        if not isinstance(value, list | tuple) or len(value) not in (2, 4):
            return False
        if set(map(type, value)) != {int}:
            return False
    if node.op != "activation":
        return True
    slope, cap = node.attrs.get("slope", 0.0), node.attrs.get("cap")
    levels = node.attrs.get("levels")
    try:
        sound = 0 <= slope <= 1 and (cap is None or 0 < cap < math.inf)
        return sound and (levels is None or (type(levels) is int and 0 < levels <= MAX_LEVELS))
    except TypeError:
        return False


_PAIRS = ("kernel", "stride", "padding", "dilation", "scale")
_WINDOW = ("kernel", "stride", "padding", "ceil")
# op -> its attributes. Those of an activation may be missing.
_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "conv": ("stride", "padding", "dilation", "groups"),
    "activation": tuple(vars(Activation())),
    "max_pool": _WINDOW,
    "avg_pool": (*_WINDOW, "count_include_pad"),
    "upsample": ("scale",),
    "slice": ("slices",),
    "pad": ("padding",),
    **dict.fromkeys(PRODUCTS, ("heads", "areas")),
}
