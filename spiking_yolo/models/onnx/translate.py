"""The nodes of an ONNX file as nodes of a Graph, one after the other.

What has no counterpart stays unresolved: a sigmoid, which may turn out to be a part of SiLU, and
the decoding behind the network.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.models.onnx.attention import attended, rearranged, scores_of, softmax_of
from spiking_yolo.models.onnx.builder import GraphBuilder
from spiking_yolo.models.onnx.file import OnnxModel, OnnxNode
from spiking_yolo.models.onnx.layers import LAYERS, Args
from spiking_yolo.models.onnx.operators import (
    CONSTANT_WORK,
    ERRORS,
    FLOATS,
    MOVES,
    TRIAL_WORK,
    Evaluator,
    Unsupported,
)
from spiking_yolo.models.onnx.values import (
    Feature,
    Layout,
    Scores,
    Unresolved,
    Value,
    Weights,
    meta_of,
)

# The places of values in a map count as much as constants, for a map of 1536 pixels.
LAYOUT_WORK = 1 << 27
# They change nothing.
IDENTITIES = {"Identity", "Dropout", "Cast"}


def translate(
    model: OnnxModel, size: tuple[int, int], budget: int
) -> tuple[GraphBuilder, dict[str, Value]]:
    """A file's nodes as nodes of a Graph.

    Args:
        model: The file's content.
        size: Height and width of the images.
        budget: How many numbers all weights may have.

    Returns:
        The nodes, and what every value of the file is.

    Raises:
        UserError: A node does not fit its inputs.
    """
    builder = GraphBuilder(budget)
    values: dict[str, Value] = dict(model.constants)
    values[model.input] = builder.start(model.input, (1, 3, *size))
    fold = Evaluator(CONSTANT_WORK)
    move = Evaluator(LAYOUT_WORK)
    shape = Evaluator(TRIAL_WORK)
    for node in model.nodes:
        args = [values[name] if name else None for name in node.inputs]
        results = _constants(node, args, fold)
        if results is None:
            results = _features(builder, node, args)
        if results is None:
            results = _layouts(builder, node, args, move)
        if results is None:
            results = _unresolved(node, args, shape)
        for part, name in enumerate(node.outputs):
            # Nobody reads what a pooling, for example, says of its indices.
            rest = Unresolved(node, tuple(args), part, None)
            values[name] = results[part] if part < len(results) else rest
    return builder, values


def _constants(node: OnnxNode, args: Args, fold: Evaluator) -> Sequence[Value] | None:
    """The outputs of a node of constants, or of the shape of anything."""
    if node.op == "Shape" and args and (meta := meta_of(args[0])) is not None:
        sides = list(meta.shape)
        with suppress(TypeError):
            return [torch.tensor(sides[node.attrs.get("start", 0) : node.attrs.get("end")])]
    constants: list[Tensor | None] = []
    for arg in args:
        if arg is not None and not isinstance(arg, Tensor):
            return None
        constants.append(arg)
    try:
        return fold(node, constants)
    except Unsupported:
        return None


def _features(builder: GraphBuilder, node: OnnxNode, args: Args) -> Sequence[Value] | None:
    """The outputs of a node that becomes one of the Graph, or none."""
    if node.op in IDENTITIES and args and isinstance(args[0], Feature | Layout | Scores | Weights):
        # Casts of maps are between widths of floating point, or belong to the decoding.
        return [args[0]] if node.attrs.get("to", 1) in FLOATS else None
    if node.op not in LAYERS:
        return None
    try:
        result = LAYERS[node.op](builder, node, args)
    except UserError:
        raise
    except ERRORS as error:
        raise UserError(f"{node.title} is damaged: fetch the file or export it again") from error
    if result is None or isinstance(result, list):
        return result
    return [result]


def _layouts(
    builder: GraphBuilder, node: OnnxNode, args: Args, move: Evaluator
) -> Sequence[Value] | None:
    """The outputs of a node that moves values of a map, or is a part of attention."""
    first = args[0] if args else None
    if node.op in MOVES and isinstance(first, Feature | Layout):
        layout = Layout(first, first.places) if isinstance(first, Feature) else first
        constants = [arg if isinstance(arg, Tensor) else None for arg in args[1:]]
        try:
            parts = move(node, [layout.index, *constants])
        except Unsupported:
            return None
        return [Layout(layout.source, part, layout.scale) for part in parts]
    result = None
    if node.op == "MatMul" and len(args) == 2 and args[0] is not None and args[1] is not None:
        result = scores_of(args[0], args[1]) or attended(builder, args[0], args[1], node.name)
    elif node.op == "Softmax" and isinstance(first, Scores):
        if node.attrs["axis"] in (-1, len(first.shape) - 1):
            result = softmax_of(builder, first, node.name)
    elif node.op in MOVES and isinstance(first, Scores | Weights):
        metas = _shapes(node, args, move)
        if metas is not None:
            result = rearranged(first, metas[0], node.op, node.attrs.get("perm", []))
    elif node.op in ("Mul", "Div"):
        result = _scaled_by_number(node, args)
    return None if result is None else [result]


def _scaled_by_number(node: OnnxNode, args: Args) -> Value | None:
    """A layout or scores times a number, or divided by it."""
    for value, factor in (tuple(args), tuple(args[::-1]))[: 2 if node.op == "Mul" else 1]:
        if isinstance(factor, Tensor) and factor.numel() == 1 and float(factor) != 0:
            scale = float(factor) if node.op == "Mul" else 1 / float(factor)
            if isinstance(value, Layout):
                return replace(value, scale=value.scale * scale)
            if isinstance(value, Scores):
                return replace(value, scale=value.scale * scale)
    return None


def _unresolved(node: OnnxNode, args: Args, shape: Evaluator) -> Sequence[Value]:
    metas: Sequence[Tensor | None] = [None] * len(node.outputs)
    known = _shapes(node, args, shape)
    return [Unresolved(node, tuple(args), part, meta) for part, meta in enumerate(known or metas)]


def _shapes(node: OnnxNode, args: Args, shape: Evaluator) -> Sequence[Tensor] | None:
    """The outputs on the meta device; None where they are not known."""
    metas: list[Tensor | None] = []
    for arg in args:
        meta = meta_of(arg)
        if meta is None and arg is not None:
            return None
        metas.append(meta)
    with suppress(Unsupported):
        return shape(node, metas)
    return None
