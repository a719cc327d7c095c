"""The nodes of an ONNX file as nodes of a Graph, one after the other.

What has no counterpart has no value: a sigmoid, which may turn out to be a part of SiLU, and the
decoding behind the network.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from spiking_yolo.errors import UserError, require
from spiking_yolo.graph.validate import ERRORS
from spiking_yolo.models.onnx.attention import attended, rearranged, scores_of, softmax_of
from spiking_yolo.models.onnx.builder import Feature, GraphBuilder, Layout, Scores, Value
from spiking_yolo.models.onnx.file import OnnxModel, OnnxNode
from spiking_yolo.models.onnx.layers import LAYERS, Args

# They change nothing: casts of maps are between widths of floating point.
IDENTITIES = {"Identity", "Dropout", "Cast"}
# They move values without changing them.
MOVES = {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Split", "Slice", "Gather"}


def translate(model: OnnxModel) -> tuple[GraphBuilder, dict[str, Value]]:
    """A file's nodes as nodes of a Graph.

    Args:
        model: The file's content.

    Returns:
        The nodes, and what the values of the file are that have a counterpart.

    Raises:
        UserError: A node does not fit its inputs.
    """
    builder = GraphBuilder(model)
    values: dict[str, Value] = dict(model.constants)
    values[model.input] = builder.start(model.input, (1, 3, *model.size))
    for node in model.nodes:
        args = [values.get(name) for name in node.inputs]
        try:
            results = _results(builder, node, args)
        except UserError:
            raise
        except ERRORS as error:
            raise UserError(
                f"{node.title} is damaged: fetch the file or export it again"
            ) from error
        values.update(zip(node.outputs, results, strict=False))
    return builder, values


def _results(builder: GraphBuilder, node: OnnxNode, args: Args) -> Sequence[Value]:
    """The outputs of a node; none where it has no counterpart."""
    first = args[0] if args else None
    if first is not None and node.op in IDENTITIES:
        return [first]
    result: Any = None
    if node.op in LAYERS:
        result = LAYERS[node.op](builder, node, args)
    if result is None and isinstance(first, Feature | Layout) and node.op in MOVES:
        return _moved(builder.model, node, first)
    if result is None:
        result = _part_of_attention(builder, node, args)
    if result is None:
        return []
    return result if isinstance(result, list) else [result]


def _moved(model: OnnxModel, node: OnnxNode, value: Feature | Layout) -> list[Value]:
    """The outputs of a node that moves values of a map, which it is run for."""
    reference: Any = require("onnx.reference", "onnx")
    layout = Layout(value, value.places) if isinstance(value, Feature) else value
    feeds = {node.inputs[0]: layout.index.numpy()}
    for name in filter(None, node.inputs[1:]):
        feeds[name] = model.constants[name].numpy()
    run = reference.ReferenceEvaluator(node.proto, opsets={"": model.opset})
    parts: list[Value] = []
    for part in run.run(None, feeds):
        parts.append(Layout(layout.source, torch.from_numpy(part.copy()), layout.scale))
    return parts


def _part_of_attention(builder: GraphBuilder, node: OnnxNode, args: Args) -> Value | None:
    first = args[0] if args else None
    match node.op:
        case "MatMul" if args[0] is not None and args[1] is not None:
            return scores_of(args[0], args[1]) or attended(builder, args[0], args[1], node.name)
        case "Softmax" if isinstance(first, Scores) and _is_last_axis(builder.model, node):
            return softmax_of(builder, first, node.name)
        case "Transpose" if isinstance(first, Scores):
            return rearranged(first, node.attrs["perm"], 0)
        case "Reshape" if isinstance(first, Scores):
            return rearranged(first, [], builder.model.shapes[node.outputs[0]][-1])
        case "Mul" | "Div":
            return _scaled(node, args)
    return None


def _is_last_axis(model: OnnxModel, node: OnnxNode) -> bool:
    # Before opset 13 the default was the second axis, and all that follow were taken as one.
    axis = node.attrs.get("axis", -1 if model.opset >= 13 else 1)
    return axis in (-1, len(model.shapes[node.outputs[0]]) - 1)


def _scaled(node: OnnxNode, args: Args) -> Value | None:
    """A layout or scores times a number, or divided by it."""
    orders = [tuple(args), tuple(args[::-1])] if node.op == "Mul" else [tuple(args)]
    for value, factor in orders:
        if isinstance(factor, torch.Tensor) and factor.numel() == 1 and float(factor) != 0:
            scale = float(factor) if node.op == "Mul" else 1 / float(factor)
            if isinstance(value, Layout | Scores):
                return replace(value, scale=value.scale * scale)
    return None
