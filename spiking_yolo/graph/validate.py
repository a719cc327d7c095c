"""Validation of untrusted graphs, once on load: names, weights and the shape of every node, which
PyTorch's meta device gives without computing or allocating anything.
"""

import math

import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.graph.graph import OPS, Graph, Node
from spiking_yolo.io.names import plain_name, reason
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
        weight, bias = (
            one if one is None else one.to("meta", torch.float32) for one in graph.parameters(node)
        )
        inputs = [maps[name] for name in node.inputs]
        if node.op == "input":
            inputs = [_meta(1, 3, height, width)]
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
    """Refuse the broadcasting that PyTorch accepts here but no network may have."""
    x = inputs[0]
    a = node.attrs
    match node.op:
        case "conv":
            return weight is not None and len(weight) % a["groups"] == 0
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
NODES = 10_000


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
        plain_name(node.name, "a node")
        names.add(node.name)
        inputs += node.op == "input"
    if inputs != 1 or len(names) < len(graph.nodes):
        raise UserError("a network needs one input, and another name for every node")
    if len({tensor.dtype for tensor in graph.tensors.values()}) > 1:
        raise UserError("the weights of a network must be of one type")
    for name, tensor in graph.tensors.items():
        if not tensor.is_floating_point():
            raise UserError(f"a network has no weights of type {tensor.dtype}")
        check_finite({name: tensor}, "the network")
    return shapes(graph, height, width)
