"""A network as an ONNX model: its step, translated by PyTorch's exporter, with boxes and counts."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import onnx
import torch
from onnx_ir.passes import Sequential
from onnx_ir.passes import common as passes
from onnxscript import optimizer
from torch import Tensor, nn

from spiking_yolo import __version__
from spiking_yolo.decode import DetectionOptions
from spiking_yolo.decode.boxes import decode
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, shapes
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.integer.parameters import Neurons
from spiking_yolo.io.json import json_text
from spiking_yolo.models.index import licence
from spiking_yolo.models.spec import Spec
from spiking_yolo.onnx import operators
from spiking_yolo.onnx.step import CLOCK, AnnStep, IntegerStep
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn import operations
from spiking_yolo.snn.counting import Counts

# totals: of each sender, and the operations of the network. maps: at each position.
Counted = Literal["none", "totals", "maps", "all"]


class Conversion(Protocol):
    """A converted network, see convert.converted.Converted."""

    @property
    def spiking_graph(self) -> Graph: ...
    @property
    def spec(self) -> Spec: ...
    @property
    def recipe(self) -> Recipe: ...
    @property
    def neurons(self) -> Neurons: ...
    @property
    def provenance(self) -> Mapping[str, str]: ...


def ann_model(
    graph: Graph, spec: Spec, *, boxes: DetectionOptions | None = None
) -> onnx.ModelProto:
    """The ANN as an ONNX model.

    Input `images`, float32 [batch, 3, H, W], RGB / 255; outputs `head_0`, `head_1`, ..., of a
    classifier `logits`.

    Args:
        graph: The ANN.
        spec: Its interface.
        boxes: Decode the heads: see `spiking_model`.

    Example:
        >>> from spiking_yolo.models.load import load_ann
        >>> ann = load_ann("yolov3-tiny")
        >>> onnx.save(ann_model(ann.graph, ann.spec), "yolov3-tiny.onnx")
    """
    sizes = shapes(graph, spec.height, spec.width)
    module = ExportedStep(AnnStep(graph, sizes), spec, boxes)
    return _exported(module, {"kind": "ann"})


def spiking_model(
    converted: Conversion,
    *,
    stateful: bool = False,
    boxes: DetectionOptions | None = None,
    counts: Counted = "none",
    normalised: bool = False,
) -> onnx.ModelProto:
    """A spiking network as an ONNX model of one step: T = 1, or a frame of a video.

    For methods that send complete values, such as the default; with `stateful` the graph takes the
    frames of a video one after the other.

    Input `images`, float32 [batch, 3, H, W], RGB / 255, which are rounded to bytes. Outputs
    `head_0`, ..., in the units of the ANN (`logits` of a classifier). Weights are held in 8 bits.
    Heads and events are those of the package, to the bit: see onnx/step.py.

    Args:
        converted: A converted network.
        stateful: A state `state.NAME` goes in and comes out as `next.NAME`; all are zeros before
            the first frame. Metadata `states` lists them. Frames are taken as they come: noise is
            not removed (encoding.denoise).
        boxes: Instead of the heads one output `detections`, [D, 7]: image of the batch, x1, y1, x2,
            y2 in pixels of the network's input and not clipped, confidence, class; best first.
        counts: totals: `spikes`, `digits` and `messages` of the call, [batch, senders] (metadata
            `senders`), and `operations`, [batch, 3], in these countings. maps: `events.NAME` of
            each sender instead, [batch, 3, ...], summed over channels (over segments of channels,
            [batch, 3 * segments, ...], where a later node takes slices of them). all: both.
        normalised: Images come with mean and standard deviation applied already.

    Raises:
        UserError: The method cannot be one step of a graph.

    Example:
        >>> from spiking_yolo import SpikingYOLO
        >>> model = spiking_model(SpikingYOLO().converted, stateful=True, counts="totals")
    """
    graph, recipe, spec = converted.spiking_graph, converted.recipe, converted.spec
    if not recipe.complete:
        raise UserError(
            f"{recipe.name} sends spikes over T steps, and ONNX files hold one step: choose"
            " --method signed-digits, or write a .safetensors file"
        )
    if stateful and not recipe.keeps_frames:
        raise UserError(
            "encoding.frames=reset keeps no state: leave --stateful out, or --set"
            " encoding.frames=keep"
        )
    network = IntegerNetwork(graph, converted.neurons, recipe, spec, fast=False)
    step = IntegerStep(network, stateful)
    module = ExportedStep(step, spec, boxes, counts, normalised)
    metadata = {
        "kind": "spiking",
        "method": recipe.name,
        "recipe": recipe.to_json(),
        "provenance": json_text(dict(converted.provenance)),
        "weights": converted.provenance.get("weights", ""),
        "senders": json_text(list(step.segments)),
        "states": json_text(module.states_table()),
    }
    if recipe.remark:
        metadata["remark"] = recipe.remark
    return _exported(module, metadata)


class ExportedStep(nn.Module):
    """A step from images to named results."""

    def __init__(
        self,
        step: AnnStep,
        spec: Spec,
        boxes: DetectionOptions | None = None,
        counts: Counted = "none",
        normalised: bool = False,
    ):
        super().__init__()
        self.step = step
        self.spec = spec
        self.boxes = boxes
        self.counted = counts
        self.normalised = normalised
        if boxes is not None and spec.task != "detect":
            raise UserError("a classifier finds no boxes: leave --boxes out")
        if counts in ("totals", "all"):
            # Operations per event in the first step, and what more it is in later ones.
            self.costs = self._costs(first=True)
            more = self._costs(first=False) - self.costs
            self.more: Tensor | None = None
            if step.states and bool(more.any()):
                self.more = more

    def _costs(self, first: bool) -> Tensor:
        """Of each event at each position of all senders, one after the other."""
        step = self.step
        costs = operations.costs_of_events(
            step.graph, step.sizes, step.segments, first, step.segments
        )
        return torch.cat([cost.flatten() for cost in costs.values()])

    def states_table(self) -> list[dict[str, Any]]:
        """Input, output and shape of each state."""
        table: list[dict[str, Any]] = []
        for name, shape in self.step.states.items():
            sizes: list[Any] = list(shape)
            if name != CLOCK:
                sizes[0] = "batch"
            table.append({"input": f"state.{name}", "output": f"next.{name}", "shape": sizes})
        return table

    def zeros(self, batch: int) -> list[Tensor]:
        """The states before the first step."""
        states: list[Tensor] = []
        for name, shape in self.step.states.items():
            if name != CLOCK:
                shape = torch.Size((batch, *shape[1:]))
            states.append(torch.zeros(shape))
        return states

    def forward(self, images: Tensor, states: Sequence[Tensor] = ()) -> tuple[Tensor, ...]:
        return tuple(self.results(images, states).values())

    def results(self, images: Tensor, states: Sequence[Tensor] = ()) -> dict[str, Tensor]:
        """The outputs by name."""
        if not self.normalised:
            images = self._normal(images)
        stepped = self.step(images, dict(zip(self.step.states, states, strict=True)))
        results: dict[str, Tensor] = {}
        if self.boxes is not None:
            results["detections"] = detections(stepped.outputs, self.spec, self.boxes)
        elif self.spec.task == "classify":
            results["logits"] = stepped.outputs[0]
        else:
            for k, output in enumerate(stepped.outputs):
                results[f"head_{k}"] = output
        if self.counted in ("totals", "all"):
            results |= self._counts(stepped.events, states)
        if self.counted in ("maps", "all"):
            for name, events in stepped.events.items():
                results[f"events.{name}"] = events
        for name, state in stepped.states.items():
            results[f"next.{name}"] = state
        return results

    def _normal(self, images: Tensor) -> Tensor:
        mean, std = self.spec.mean, self.spec.std
        if not any(mean) and set(std) == {1.0}:
            return images
        return (images - images.new_tensor(mean)[:, None, None]) / images.new_tensor(std)[
            :, None, None
        ]

    def _counts(self, events: Mapping[str, Tensor], states: Sequence[Tensor]) -> dict[str, Tensor]:
        """Events of each sender, and the synaptic operations of all; events: [N, 3, ...]."""
        # [N, 3, positions, or positions of all channels] of each sender.
        flat = [one.flatten(1).unflatten(1, (3, -1)) for one in events.values()]
        sent = torch.stack([one.sum(2) for one in flat], 1)
        costs = self.costs
        if self.more is not None:
            costs = costs + (states[0] > 0) * self.more
        results = dict(zip(Counts._fields, sent.unbind(2), strict=True))
        return {**results, "operations": (torch.cat(flat, 2) * costs).sum(2)}


def detections(outputs: Sequence[Tensor], spec: Spec, options: DetectionOptions) -> Tensor:
    """Boxes off the heads [N, ...]: see `spiking_model`. As Selection chooses them."""
    boxes, scores = decode(outputs, spec)
    # See Selection.boxes.
    size = boxes.new_tensor([spec.width, spec.height, spec.width, spec.height])
    boxes = boxes.clamp(-1, 2) * size
    # An option that this does not know is an error.
    conf, iou, max_det, agnostic_nms = options.box_options().values()
    best, label = scores.max(2)
    if spec.nms:
        by_class = best[:, None]
        if not agnostic_nms:
            of_best = torch.arange(scores.shape[2], device=scores.device)[:, None] == label[:, None]
            by_class = best[:, None] * of_best.to(best)
        chosen = operators.suppress(boxes, by_class, conf, iou, max_det)
        image, _, box = chosen.unbind(1)
        label = label[image, box]
        confidence = best[image, box]
    else:
        classes = scores.shape[2]
        if agnostic_nms:
            scores = scores * (torch.arange(classes, device=scores.device) == label[..., None])
        top, place = scores.flatten(1).topk(min(max_det, scores[0].numel()))
        image, rank = (top > conf).nonzero(as_tuple=True)
        box, label = place[image, rank] // classes, place[image, rank] % classes
        confidence = top[image, rank]
    columns = [image.float(), *boxes[image, box].unbind(1), confidence, label.float()]
    found = torch.stack(columns, 1)
    return found[confidence.argsort(descending=True)]


def _exported(module: ExportedStep, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The model of a module, checked, with what its user has to know."""
    spec, batch = module.spec, torch.export.Dim("batch")
    # Two of each, since the exporter takes a batch of one for a constant.
    given: list[Any] = [torch.zeros(2, 3, spec.height, spec.width)]
    moving: list[Any] = [{0: batch}]
    if module.step.states:
        given.append(module.zeros(2))
        sizes: list[Any] = []
        for name in module.step.states:
            sizes.append({0: batch})
            if name == CLOCK:
                sizes[-1] = {}
        moving.append(sizes)
    with warnings.catch_warnings(), torch.no_grad():
        # Of torch, about itself.
        warnings.simplefilter("ignore")
        names = list(module.results(*given))
        program = torch.onnx.export(
            module.eval(),
            tuple(given),
            dynamo=True,
            dynamic_shapes=tuple(moving),
            custom_translation_table=operators.TRANSLATIONS,
            opset_version=operators.OPSET,
            # Its rewriting rules would take minutes.
            optimize=False,
            verbose=False,
        )
    assert program is not None
    optimizer.fold_constants(program.model)
    Sequential(
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=1),
        passes.DeduplicateInitializersPass(),
        passes.RemoveUnusedNodesPass(),
    )(program.model)
    for value, name in zip(program.model.graph.inputs, _inputs(module), strict=True):
        value.name = name
    for value, name in zip(program.model.graph.outputs, names, strict=True):
        value.name = name
    model = program.model_proto
    # Where each node was in the source takes half of the file, and names its folder.
    for node in model.graph.node:
        del node.metadata_props[:]
    model.producer_name, model.producer_version = "spiking_yolo", __version__
    macs, _ = operations.total_macs(module.step.graph, module.step.sizes, module.step.segments)
    about = {
        "names": json_text(spec.names),
        "height": str(spec.height),
        "width": str(spec.width),
        "resize": spec.resize,
        "stride": str(spec.stride),
        "task": spec.task,
        "spec": spec.to_json(),
        "macs": str(macs),
        "license": licence(metadata.get("weights", "")),
        **metadata,
    }
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model, full_check=True)
    return model


def _inputs(module: ExportedStep) -> list[str]:
    return ["images", *(f"state.{name}" for name in module.step.states)]
