"""Detectors from ONNX files: a file in, a Graph and a Spec out.

Nodes of the file become nodes of a Graph, one after the other. What has no counterpart has no
value: a sigmoid, which may turn out to be a part of SiLU, and the decoding behind the network.
"""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from spiking_yolo.data.images import Resize
from spiking_yolo.errors import UserError, require
from spiking_yolo.graph import Graph, Node
from spiking_yolo.graph.rewrites import renamed
from spiking_yolo.graph.validate import ERRORS
from spiking_yolo.io.names import STRIDE, Size, label, printable, reason
from spiking_yolo.models.onnx.attention import attended, rearranged, scores_of, softmax_of
from spiking_yolo.models.onnx.builder import Feature, GraphBuilder, Layout, Scores, Value
from spiking_yolo.models.onnx.file import OnnxModel, OnnxNode, read_onnx
from spiking_yolo.models.onnx.head import HeadMaps, find_head
from spiking_yolo.models.onnx.layers import LAYERS, Args
from spiking_yolo.models.spec import Spec, class_names
from spiking_yolo.models.yolo_checkpoint import names_of

# Characters of the class names in a file, at most.
LONGEST_NAMES = 1 << 18
# They change nothing: casts of maps are between widths of floating point.
IDENTITIES = {"Identity", "Dropout", "Cast"}
# They move values without changing them.
MOVES = {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Split", "Slice", "Gather"}
NAMED = "it holds its own class names: leave out --names"


def load_onnx(
    path: Path, names: str | Path | None = None, imgsz: Size | None = None
) -> tuple[Graph, Spec]:
    """Graph and Spec of a detector in an ONNX file, of which nothing is run.

    Args:
        path: The file.
        names: A file of class names, for one that holds none.
        imgsz: Height and width in pixels, for a file that leaves them open.

    Raises:
        UserError: The file is damaged, or holds no detector that is known here.
    """
    try:
        model = read_onnx(path, imgsz)
        if model.metadata.get("kind") == "spiking":
            raise UserError("it is converted already: give the weights that it was made from")
        builder, values = translate(model)
        if "spec" in model.metadata:
            graph, spec = _own(model, builder, values, names)
        else:
            head = find_head(model, values)
            graph = _graph(builder, head)
            spec = _spec(path, model, head, names)
            if head.heads[0].kind == "yolox":
                graph = _of_rgb(graph)
        return _without_normalisation(graph, spec)
    except UserError as error:
        raise UserError(
            f"cannot open {path}: {printable(' '.join(str(error)[:400].split()))}"
        ) from error


def _own(
    model: OnnxModel, builder: GraphBuilder, values: Mapping[str, Value], names: str | Path | None
) -> tuple[Graph, Spec]:
    """Graph and Spec of an export of this package, which describes its heads."""
    if names is not None:
        raise UserError(NAMED)
    outputs: list[str] = []
    for name in model.outputs:
        feature = builder.feature(values.get(name))
        if feature is None:
            raise UserError(f"its output {label(name)!r} is no map: export it without boxes")
        outputs.append(feature.node)
    try:
        spec = Spec.from_json(model.metadata["spec"])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"what it says of itself is damaged ({reason(error)})") from error
    return builder.graph(outputs), spec


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
    size = model.size
    for level in head.levels:
        height, width = level[0].shape[2:]
        if size[0] % height or size[1] % width or size[0] // height != size[1] // width:
            raise UserError(
                f"its images of {size[0]} x {size[1]} pixels are no whole number of cells"
            )
        stride = max(stride, size[0] // height)
    texts = _names(model, classes)
    if texts is not None and names is not None:
        raise UserError(NAMED)
    if texts is None:
        texts = class_names(path, names, classes)
    resize: Resize = "letterbox-114"
    if head.heads[0].kind == "yolox":
        resize = "corner-114"
    return Spec("detect", texts, *size, resize, head.heads, stride=stride, nms=head.nms)


def _names(model: OnnxModel, classes: int) -> tuple[str, ...] | None:
    """The class names in a file, a list or dict as Python writes it; None if there are none."""
    text = model.metadata.get("names", "")
    if not text:
        return None
    try:
        if len(text) > LONGEST_NAMES:
            raise ValueError
        value: Any = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return names_of(value, classes)


def _without_normalisation(graph: Graph, spec: Spec) -> tuple[Graph, Spec]:
    """Mean and standard deviation that the file itself applies to the image, moved to the Spec."""
    image = next(node for node in graph.nodes if node.op == "input")
    users = graph.consumers()[image.name]
    if len(users) != 1 or users[0].op != "conv" or users[0].attrs["groups"] != 3:
        return graph, spec
    first = users[0]
    weight, bias = graph.parameters(first)
    if weight is None or bias is None or weight.shape != (3, 1, 1, 1) or not (weight > 0).all():
        return graph, spec
    scale = weight.flatten()
    if scale.max() < 0.02:
        # Of values up to 255, which no network leaves as large.
        scale = scale * 255
    nodes: list[Node] = []
    for node in graph.nodes:
        if node != first:
            inputs = renamed(node.inputs, {first.name: image.name})
            nodes.append(replace(node, inputs=inputs))
    tensors = dict(graph.tensors)
    del tensors[f"{first.name}.weight"], tensors[f"{first.name}.bias"]
    mean, std = tuple((-bias / scale).tolist()), tuple((1 / scale).tolist())
    return Graph(tuple(nodes), graph.outputs, tensors), replace(spec, mean=mean, std=std)


def _of_rgb(graph: Graph) -> Graph:
    """A network of RGB images in 0..1, from one of BGR images in 0..255."""
    tensors = dict(graph.tensors)
    image = next(node for node in graph.nodes if node.op == "input")
    for node in graph.consumers()[image.name]:
        if node.op != "conv" or node.attrs["groups"] != 1:
            raise UserError(f"node {node.name!r} reads the image, where a convolution is expected")
        key = f"{node.name}.weight"
        tensors[key] = tensors[key].flip(1) * 255
    return Graph(graph.nodes, graph.outputs, tensors)


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
    axis = node.attrs.get("axis", 1)
    if model.opset >= 13:
        axis = node.attrs.get("axis", -1)
    return axis in (-1, len(model.shapes[node.outputs[0]]) - 1)


def _scaled(node: OnnxNode, args: Args) -> Value | None:
    """A layout or scores times a number, or divided by it."""
    value, factor = args
    if node.op == "Mul" and isinstance(value, torch.Tensor):
        value, factor = factor, value
    if not isinstance(value, Layout | Scores) or not isinstance(factor, torch.Tensor):
        return None
    if factor.numel() != 1 or float(factor) == 0:
        return None
    scale = float(factor)
    if node.op == "Div":
        scale = 1 / scale
    return replace(value, scale=value.scale * scale)
