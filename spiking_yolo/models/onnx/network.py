"""Detectors from ONNX files: a file in, a Graph and a Spec out."""

import ast
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from spiking_yolo.errors import Notice, UserError
from spiking_yolo.graph import Graph, Node
from spiking_yolo.io.names import STRIDE, Size, label, printable, reason
from spiking_yolo.models.darknet_weights import class_names
from spiking_yolo.models.onnx.builder import GraphBuilder, Value
from spiking_yolo.models.onnx.file import OnnxModel, read_onnx
from spiking_yolo.models.onnx.head import HeadMaps, find_head
from spiking_yolo.models.onnx.translate import translate
from spiking_yolo.models.spec import Spec
from spiking_yolo.models.yolo_checkpoint import names_of

# Characters of the class names in a file, at most.
LONGEST_NAMES = 1 << 18
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
            if head.note:
                warnings.warn(Notice(head.note), stacklevel=3)
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
    """Of an export of this package, which describes its heads and gives them as they are."""
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
    resize = "corner-114" if head.heads[0].kind == "yolox" else "letterbox-114"
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
    first = users[0] if len(users) == 1 else image
    if first.op != "conv" or first.attrs["groups"] != 3:
        return graph, spec
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
            inputs = [image.name if name == first.name else name for name in node.inputs]
            nodes.append(replace(node, inputs=tuple(inputs)))
    tensors = {k: v for k, v in graph.tensors.items() if k.rsplit(".", 1)[0] != first.name}
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
