"""The shape of every node, by PyTorch's meta device: nothing is computed, whatever a graph asks for takes no memory."""

import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.graph.graph import OPS, Graph, Node, reached_padding
from spiking_yolo.io.names import reason

# Of one image, at most: numbers in any map (1 GiB; 16 channels at 4096 x 4096 pixels), in all of them, and
# multiply-accumulates, of which YOLOv8x takes 2^37 at 640 pixels.
MOST, MOST_IN_ALL, MOST_MACS = 1 << 28, 1 << 31, 1 << 41


def shapes(graph: Graph, height: int, width: int) -> dict[str, torch.Size]:
    """Output shape of every node, [1, C, ...], for one image of height x width pixels.

    Raises UserError, naming the node, where inputs, weights and attributes do not fit, or a map has more than MOST
    numbers, and for a network that is larger than any detector.
    """
    known: dict[str, Tensor] = {}
    numbers = macs = 0
    for node in graph.nodes:
        weight, bias = (None if t is None else _meta(*t.shape) for t in graph.parameters(node))
        inputs = [known[name] for name in node.inputs] if node.op != "input" else [_meta(1, 3, height, width)]
        try:
            made = OPS[node.op](node.attrs, weight, bias, *inputs)
            if (bias is not None and bias.shape != made.shape[1:2]) or not _fits(node, weight, inputs, made):
                raise ValueError("its weight, its window or its inputs are of other shapes")
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            given = ", ".join(map(_size, inputs))
            said = reason(error)[:80]
            raise UserError(f"node {node.name!r} ({node.op}) does not fit its input of {given}: {said}") from error
        if not 0 < made.numel() <= MOST:
            size = _size(made)[:60]
            raise UserError(f"node {node.name!r} ({node.op}) makes a map of {size}: each needs 1 to {MOST} numbers")
        known[node.name] = made
        numbers += made.numel()
        macs += made.numel() * (0 if weight is None else weight[0].numel())
        if numbers > MOST_IN_ALL or macs > MOST_MACS:
            raise UserError(
                f"node {node.name!r} ({node.op}): up to here an image of {height} x {width} pixels takes {numbers} "
                f"numbers and {macs} multiply-accumulates, more than any detector: give a smaller network or --imgsz"
            )
    return {name: made.shape for name, made in known.items()}


def _fits(node: Node, weight: Tensor | None, inputs: list[Tensor], made: Tensor) -> bool:
    """What PyTorch lets pass here, and no network may have: broadcasting, and a window that reaches only padding, whose
    maximum is minus infinity.
    """
    x, a = inputs[0], node.attrs
    if node.op == "max_pool":
        left, _, top, _ = reached_padding(x.shape[2], x.shape[3], a["kernel"], a["stride"], a["padding"], a["ceil"])
        axes = zip(x.shape[2:], made.shape[2:], a["kernel"], a["stride"], (top, left), strict=True)
        return all(before < k and (count - 1) * s - before < side for side, count, k, s, before in axes)
    if node.op == "conv" and weight is not None:
        return len(weight) % a["groups"] == 0
    return {"add": x.shape == inputs[-1].shape, "linear": x.ndim == 2}.get(node.op, True)


def _meta(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def _size(x: Tensor) -> str:
    return "x".join(map(str, x.shape[1:]))
