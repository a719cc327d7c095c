"""Write a converted network to a file: ONNX, NIR, safetensors, or JSON that a person can read."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from spiking_yolo.apps.convert import ConvertOptions
from spiking_yolo.apps.export import ExportOptions
from spiking_yolo.apps.export.expressible import listing, missing, needed
from spiking_yolo.apps.export.nir_graph import to_nir
from spiking_yolo.convert.converted import Converted
from spiking_yolo.errors import UserError, require
from spiking_yolo.graph import Node, shapes
from spiking_yolo.io.files import atomic_write
from spiking_yolo.io.json import json_text
from spiking_yolo.options import DetectionOptions, load, load_ann

FORMAT = "spiking_yolo-description-1"


def describe(converted: Converted) -> str:
    """The network as JSON, one line per node; without weights.

    A node has name, op, inputs, attrs, and shape, that of its output without the batch: [C, H, W]
    or [features]. weight, bias: shapes. neurons: their parameters, see snn.neurons.NeuronLayer, as
    theta per channel in the units of the original network; a single number where all channels share
    it; of a value per neuron the shape and the range.
    """
    graph = converted.graph
    sizes = shapes(graph, converted.spec.height, converted.spec.width)
    head = {
        "format": FORMAT,
        "recipe": json.loads(converted.recipe.to_json()),
        "spec": json.loads(converted.spec.to_json()),
        "provenance": dict(converted.provenance),
        "outputs": list(graph.outputs),
    }
    lines = [f" {json_text(key)}: {json_text(value)}," for key, value in head.items()]
    nodes = []
    for node in graph.nodes:
        entry = _node(converted, node, list(sizes[node.name][1:]))
        nodes.append(f"  {json_text(entry)}")
    return "\n".join(["{", *lines, ' "nodes": [', ",\n".join(nodes), " ]", "}", ""])


def _node(converted: Converted, node: Node, shape: list[int]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": node.name,
        "op": node.op,
        "inputs": list(node.inputs),
        "attrs": dict(node.attrs),
        "shape": shape,
    }
    weight, bias = converted.graph.parameters(node)
    if weight is not None:
        entry["weight"] = list(weight.shape)
    if bias is not None:
        entry["bias"] = list(bias.shape)
    if own := converted.neurons.get(node.name):
        entry["neurons"] = {key: _values(value) for key, value in own.items()}
    return entry


def _values(tensor: Tensor) -> Any:
    """Numbers to 7 digits, about as many as float32 has."""
    low, high = (float(f"{end.item():.7g}") for end in tensor.aminmax())
    if low == high:
        return low
    if tensor.ndim > 1:
        return {"shape": list(tensor.shape), "min": low, "max": high}
    return [float(f"{value:.7g}") for value in tensor.tolist()]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        what: In words.
        nodes: Of a graph of another standard, None elsewhere.
        task: Of the network, "detect" or "classify".
    """

    what: str
    nodes: int | None = None
    task: str = "detect"

    @classmethod
    def of(cls, converted: Converted, nodes: int | None = None) -> "Exported":
        layers = len(converted.graph.activations)
        what = f"{layers} layers of neurons, method {converted.recipe.title}"
        return cls(what, nodes, converted.spec.task)

    def text(self) -> str:
        return self.what if self.nodes is None else f"{self.what}, {self.nodes} nodes"


def convert(options: ConvertOptions) -> Exported:
    """Convert, and save one file that needs nothing else."""
    converted = load(options)
    converted.save(options.output)
    return Exported.of(converted)


def explain(options: ExportOptions) -> str:
    """What NIR cannot express of the network, node by node. Writes nothing."""
    converted, sizes = needed(load(options))
    return listing(missing(converted, sizes), len(converted.graph.nodes), sizes)


def export(options: ExportOptions) -> Exported:
    """Write the network in the format, whole or not at all.

    Raises:
        UserError: The format cannot express it, there is no --output, or the file cannot be
            written.
    """
    if options.output is None:
        raise UserError("--explain writes nothing: leave it out")
    if options.format == "onnx":
        return _export_onnx(options, options.output)
    converted = load(options)
    if options.format == "safetensors":
        converted.save(options.output)
    elif options.format == "json":
        text = describe(converted)
        with atomic_write(options.output) as temporary:
            temporary.write_text(text)
    else:
        nir = require("nir", "export")
        graph = to_nir(converted)
        with atomic_write(options.output) as temporary:
            nir.write(temporary, graph)
        return Exported.of(converted, len(graph.nodes))
    return Exported.of(converted)


def _export_onnx(options: ExportOptions, output: Path) -> Exported:
    """Write an ONNX model: see onnx.model."""
    onnx = require("onnx", "onnx")
    require("onnxscript", "onnx")
    from spiking_yolo.onnx.model import ann_model, spiking_model

    boxes = DetectionOptions(**options.box_options()) if options.boxes else None
    if options.ann:
        ann = load_ann(options)
        model = ann_model(ann.graph, ann.spec, boxes=boxes)
        exported = Exported("the original network", len(model.graph.node))
    else:
        converted = load(options)
        model = spiking_model(
            converted, stateful=options.stateful, boxes=boxes, counts=options.counts
        )
        exported = Exported.of(converted, len(model.graph.node))
    with atomic_write(output) as temporary:
        onnx.save(model, temporary)
    return exported
