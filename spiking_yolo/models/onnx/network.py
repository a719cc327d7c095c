"""Detectors from ONNX files: a file in, a Graph and a Spec out.

Nodes of the file become nodes of a Graph, one after the other. LAYERS says how an operator becomes
one, whatever exporters make of it. What has no counterpart has no value: a sigmoid, which may turn
out to be a part of SiLU, and the decoding behind the network.
"""

import ast
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.errors import UserError, require
from spiking_yolo.graph import ERRORS, Graph
from spiking_yolo.io.text import STRIDE, Size, printable
from spiking_yolo.models.onnx.builder import (
    Feature,
    GraphBuilder,
    Layout,
    NoCounterpart,
    Scores,
    Value,
    need,
)
from spiking_yolo.models.onnx.file import OnnxModel, OnnxNode, read_onnx
from spiking_yolo.models.onnx.head import HeadMaps, find_head
from spiking_yolo.models.spec import Spec, class_names
from spiking_yolo.models.yolo_checkpoint import names_of

Args = Sequence[Value | None]
# Attention has at most so many heads times areas.
MATRICES = 1024
# Matrices of one layout: channels [L, D] and positions [L, T].
Matrices = tuple[Tensor, Tensor]


def constant(value: Value | None) -> Tensor:
    """A value that the file holds as numbers. Raises NoCounterpart for others."""
    if not isinstance(value, Tensor):
        raise NoCounterpart
    return value


def conv(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature:
    x, weight, a = builder.feature(args[0]), constant(args[1]), node.attrs
    padding = _padding(a)
    need(weight.ndim == 4 and padding[:2] == padding[2:])
    bias = torch.zeros(len(weight))
    if len(args) > 2:
        bias = constant(args[2])
    geometry: dict[str, Any] = {
        "stride": a.get("strides", [1, 1]),
        "padding": padding[:2],
        "dilation": a.get("dilations", [1, 1]),
        "groups": a.get("group", 1),
    }
    return builder.emit("conv", node.name, x, weights=(weight, bias), **geometry)


def _padding(attrs: Any) -> list[int]:
    """Top, left, bottom, right. Padding that depends on the size, or is negative, is refused."""
    padding = attrs.get("pads", [0, 0, 0, 0])
    automatic = attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    need(len(padding) == 4 and min(padding) >= 0 and not automatic)
    return padding


def _by_side(padding: list[int]) -> list[int]:
    """Left, right, top, bottom."""
    top, left, bottom, right = padding
    return [left, right, top, bottom]


def add(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature:
    x, y = map(builder.feature, args)
    need(x.shape == y.shape)
    return builder.emit("add", node.name, x, y)


def multiply(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature:
    """SiLU, or a map and a number for each channel."""
    model = builder.model
    for x, name, factor in zip(args, node.inputs, node.inputs[::-1], strict=True):
        if not isinstance(x, Feature):
            continue
        maker = model.makers.get(factor)
        if maker is not None and maker.op == "Sigmoid" and maker.inputs[0] == name:
            return builder.emit("activation", node.name, x, slope=0.0, silu=True)
        scale = model.constants.get(factor)
        if scale is not None and scale.numel() == x.shape[1] == scale.shape[-3]:
            weights = scale.view(-1, 1, 1, 1), torch.zeros(len(scale.flatten()))
            pair = [1, 1]
            geometry = {"stride": pair, "padding": [0, 0], "dilation": pair, "groups": x.shape[1]}
            return builder.emit("conv", node.name, x, weights=weights, **geometry)
    raise NoCounterpart


def activation(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature:
    x = builder.feature(args[0])
    attrs: dict[str, Any] = {"slope": 0.0}
    if node.op == "LeakyRelu":
        attrs["slope"] = float(node.attrs.get("alpha", 0.01))
    elif node.op == "Clip":
        numbers = [arg.flatten() for arg in args[1:] if isinstance(arg, Tensor) and arg.numel()]
        need(len(numbers) == 2 and bool(numbers[0] == 0 and 0 < numbers[1] < torch.inf))
        attrs["cap"] = float(numbers[1])
    need(0 <= attrs["slope"] < 1)
    return builder.emit("activation", node.name, x, **attrs)


def pool(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature:
    a, x = node.attrs, builder.feature(args[0])
    padding = _padding(a)
    need(a.get("dilations", [1, 1]) == [1, 1])
    window: dict[str, Any] = {"kernel": a["kernel_shape"], "stride": a.get("strides", [1, 1])}
    window["ceil"] = bool(a.get("ceil_mode", 0))
    if node.op == "MaxPool":
        return builder.emit("max_pool", node.name, x, padding=_by_side(padding), **window)
    need(padding[:2] == padding[2:])
    window["count_include_pad"] = bool(a.get("count_include_pad", 0))
    return builder.emit("avg_pool", node.name, x, padding=padding[:2], **window)


def resize(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature:
    """Nearest upsampling by whole factors, which repeats rows and columns."""
    x, a = builder.feature(args[0]), node.attrs
    rule = a.get("coordinate_transformation_mode"), a.get("nearest_mode"), a.get("mode", "nearest")
    need(rule == ("asymmetric", "floor", "nearest"))
    sides = builder.model.shapes[node.outputs[0]]
    factors = [side // of for side, of in zip(sides[2:], x.shape[2:], strict=True)]
    result = builder.emit("upsample", node.name, x, scale=factors)
    need(tuple(result.shape) == sides)
    return result


def concat(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature:
    maps = list(map(builder.feature, args))
    need(node.attrs["axis"] in (1, -3) and all(len(one.shape) == 4 for one in maps))
    return builder.emit("concat", node.name, *maps)


def pad(builder: GraphBuilder, node: OnnxNode, args: Args) -> Feature:
    x = builder.feature(args[0])
    constants = [arg for arg in args[1:] if isinstance(arg, Tensor)]
    need(bool(constants) and not any(map(bool, map(torch.any, constants[1:]))))
    sides: list[int] = constants[0].tolist()
    need(node.attrs.get("mode", "constant") == "constant" and not any(sides[:2] + sides[4:6]))
    return builder.emit("pad", node.name, x, padding=_by_side(sides[2:4] + sides[6:8]))


# Operator -> f(nodes so far, ONNX node, its inputs), which returns a map or raises NoCounterpart.
LAYERS: dict[str, Callable[[GraphBuilder, OnnxNode, Args], Feature]] = {
    "Conv": conv,
    "Add": add,
    "Mul": multiply,
    "Relu": activation,
    "LeakyRelu": activation,
    "Clip": activation,
    "MaxPool": pool,
    "AveragePool": pool,
    "Resize": resize,
    "Concat": concat,
    "Pad": pad,
}


# The class names in a file have at most so many characters.
LONGEST_NAMES = 1 << 18
# Operators that change nothing: casts of maps are between widths of floating point.
IDENTITIES = {"Identity", "Dropout", "Cast"}
# Operators that move values without changing them.
MOVES = {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Split", "Slice", "Gather"}


def load_onnx(path: Path, names: str | Path | None, imgsz: Size | None) -> tuple[Graph, Spec]:
    """Graph and Spec of a detector in an ONNX file, of which nothing is run.

    Args:
        path: The file.
        names: A file of class names, instead of those that it may hold.
        imgsz: Height and width in pixels, for a file that leaves them open.

    Raises:
        UserError: The file is damaged, or holds no detector that is known here.
    """
    try:
        model = read_onnx(path, imgsz)
        builder, values = translate(model)
        head = find_head(model, values)
        return _graph(builder, head), _spec(path, model, head, names)
    except (*ERRORS, SyntaxError, MemoryError, RecursionError) as error:
        said = printable(" ".join(str(error)[:400].split()))
        raise UserError(f"cannot open {path}: {said}") from error


def _graph(builder: GraphBuilder, head: HeadMaps) -> Graph:
    """The nodes from which the head's maps are computed, those of each level joined."""
    outputs: list[str] = []
    for k, level in enumerate(head.levels):
        joined = level[0]
        if len(level) > 1:
            joined = builder.emit("concat", f"head_{k}", *level)
        outputs.append(joined.node)
    return builder.graph(outputs)


def _spec(path: Path, model: OnnxModel, head: HeadMaps, names: str | Path | None) -> Spec:
    classes = head.heads[0].classes
    stride = STRIDE
    for level in head.levels:
        stride = max(stride, model.size[0] // level[0].shape[2])
    # The text is a list or a dict as Python writes it.
    text = model.metadata.get("names", "")
    if names is None and 0 < len(text) < LONGEST_NAMES:
        texts = names_of(ast.literal_eval(text), classes)
    else:
        texts = class_names(path, names, classes)
    size = model.size
    return Spec("detect", texts, *size, "letterbox-114", head.heads, stride=stride, nms=head.nms)


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
        args = list(map(values.get, node.inputs))
        values.update(zip(node.outputs, _results(builder, node, args), strict=False))
    return builder, values


def _results(builder: GraphBuilder, node: OnnxNode, args: Args) -> Sequence[Value]:
    """The outputs of a node; none where it has no counterpart."""
    first = args[0] if args else None
    if first is not None and node.op in IDENTITIES:
        return [first]
    if isinstance(first, Feature | Layout) and node.op in MOVES:
        return _moved(builder.model, node, first)
    if node.op in LAYERS:
        with suppress(NoCounterpart):
            return [LAYERS[node.op](builder, node, args)]
    with suppress(NoCounterpart):
        return [_part_of_attention(builder, node, args)]
    return []


def _moved(model: OnnxModel, node: OnnxNode, value: Feature | Layout) -> list[Value]:
    """The outputs of a node that moves values of a map, which it is run for."""
    reference: Any = require("onnx.reference", "onnx")
    layout = value
    if isinstance(layout, Feature):
        layout = Layout(layout, layout.places)
    feeds = {node.inputs[0]: layout.index.numpy()}
    for name in filter(None, node.inputs[1:]):
        feeds[name] = model.constants[name].numpy()
    run = reference.ReferenceEvaluator(node.proto, opsets={"": model.opset})
    parts: list[Value] = []
    for part in run.run(None, feeds):
        parts.append(Layout(layout.source, torch.from_numpy(part.copy()), layout.scale))
    return parts


def _part_of_attention(builder: GraphBuilder, node: OnnxNode, args: Args) -> Value:
    first = args[0] if args else None
    last = len(builder.model.shapes.get(node.outputs[0], ())) - 1
    match node.op:
        case "MatMul":
            with suppress(NoCounterpart):
                return scores_of(args[0], args[1])
            return attended(builder, args[0], args[1], node.name)
        case "Softmax" if isinstance(first, Scores) and node.attrs.get("axis", -1) in (-1, last):
            query = builder.channels(first.source[0], first.queries, first.scale)
            key = builder.channels(first.source[1], first.keys)
            attrs: dict[str, Any] = {"heads": first.heads, "areas": first.areas}
            name = f"{node.name}_scores"
            products = builder.emit("attention_scores", name, query, key, **attrs)
            weights = builder.emit("activation", node.name, products, softmax=True)
            return replace(first, softmax=weights.node)
        case "Transpose" if isinstance(first, Scores):
            return rearranged(first, node.attrs["perm"], 0)
        case "Reshape" if isinstance(first, Scores):
            return rearranged(first, [], builder.model.shapes[node.outputs[0]][-1])
        case "Mul" | "Div":
            return _scaled(node, args)
    raise NoCounterpart


def _scaled(node: OnnxNode, args: Args) -> Value:
    """A layout or scores times a number, or divided by it."""
    value, factor = args
    if node.op == "Mul" and isinstance(value, Tensor):
        value, factor = factor, value
    if not isinstance(value, Layout | Scores):
        raise NoCounterpart
    scale = constant(factor)
    need(scale.numel() == 1 and float(scale) != 0)
    by = 1 / float(scale) if node.op == "Div" else float(scale)
    return replace(value, scale=value.scale * by)


# Attention, however the exporter moves the axes: queries, keys and values are parts of feature maps
# in another layout. From the places of their values in these maps follow heads, areas and channels,
# see `graph.attention_scores`.


def scores_of(left: Value | None, right: Value | None) -> Scores:
    """Scores of queries [..., T, D] and keys [..., D, T]."""
    if not (isinstance(left, Layout) and isinstance(right, Layout)):
        raise NoCounterpart
    queries = _matrices(left, left.index)
    keys = _matrices(right, right.index.transpose(-1, -2))
    leading = _heads_and_areas(*queries)
    need(torch.equal(queries[1], keys[1]))
    rows, key_rows = _rows(queries, leading), _rows(keys, leading)
    sources, tokens = (left.source, right.source), queries[1].shape[1]
    return Scores(sources, rows, key_rows, leading, tokens, left.scale * right.scale)


def _matrices(layout: Layout, index: Tensor) -> Matrices:
    """Channel of every column and position of every row of matrices [..., T, D]."""
    need(index.ndim >= 3 and index.numel() > 0)
    index = index.reshape(-1, *index.shape[-2:])
    need(len(index) <= MATRICES)
    cells = layout.source.shape[-2] * layout.source.shape[-1]
    channels = index[:, 0] // cells
    positions = index[:, :, 0] % cells
    need(torch.equal(index, positions[:, :, None] + cells * channels[:, None]))
    return channels, positions


def _heads_and_areas(channels: Tensor, positions: Tensor) -> list[tuple[int, int]]:
    """Head and area of each matrix, of which there must be one for each pair of them."""
    heads: dict[tuple[int, ...], int] = {}
    leading: list[tuple[int, int]] = []
    tokens = positions.shape[1]
    for rows, places in zip(channels.tolist(), positions, strict=True):
        first = int(places[0])
        run = torch.arange(first, first + tokens, dtype=places.dtype)
        need(first % tokens == 0 and torch.equal(places, run))
        head = heads.setdefault(tuple(rows), len(heads))
        leading.append((head, first // tokens))
    areas = max(area for _, area in leading) + 1
    need(len(set(leading)) == len(leading) == len(heads) * areas)
    return leading


def _rows(matrices: Matrices, leading: list[tuple[int, int]]) -> list[int]:
    """The channels of all heads, in order; those of a head must be equal in all areas."""
    of_head: dict[int, list[int]] = {}
    for (head, _), rows in zip(leading, matrices[0].tolist(), strict=True):
        need(of_head.setdefault(head, rows) == rows)
    every: list[int] = []
    for head in sorted(of_head):
        every += of_head[head]
    return every


def attended(builder: GraphBuilder, left: Value | None, right: Value | None, name: str) -> Layout:
    """weights [..., T, T] times values [..., T, D], or both transposed and the other way round."""
    turned = isinstance(right, Scores)
    weights, values = left, right
    if turned:
        weights, values = right, left
    if not (isinstance(weights, Scores) and isinstance(values, Layout)):
        raise NoCounterpart
    need(bool(weights.softmax) and weights.transposed == turned and values.scale == 1)
    index = values.index
    if turned:
        index = index.transpose(-1, -2)
    matrices = _matrices(values, index)
    tokens, heads, areas = weights.tokens, weights.heads, weights.areas
    firsts = torch.tensor([[area * tokens] for _, area in weights.leading])
    need(torch.equal(matrices[1], firsts + torch.arange(tokens)))
    value = builder.channels(values.source, _rows(matrices, weights.leading))
    softmax = builder.features[weights.softmax]
    output = builder.emit("attend", name, softmax, value, heads=heads, areas=areas)
    by_head = output.places.view(heads, -1, areas, tokens)
    parts = [by_head[head, :, area].T for head, area in weights.leading]
    places = torch.stack(parts).view(index.shape)
    if turned:
        places = places.transpose(-1, -2)
    return Layout(output, places)


def rearranged(scores: Scores, order: list[int], side: int) -> Scores:
    """Scores of another shape: axes before the last two joined or split, or these two exchanged.

    Args:
        scores: What is rearranged.
        order: Order of the axes, if it transposes them; else empty.
        side: The last of the new shape.
    """
    if not order and side == scores.tokens and not scores.transposed:
        return scores
    last = len(order) - 1
    need(bool(order and scores.softmax) and order == [*range(last - 1), last, last - 1])
    return replace(scores, transposed=not scores.transposed)
