"""A network as an ONNX model: its step, translated by PyTorch's exporter, with boxes and counts.

The step of a spiking network is its plan as PyTorch executes it, in float32 that carries whole
numbers. Behind every layer's sums stands a cast to int32 and back, so that no runtime
moves a multiplication into the weights. So heads and events equal the package's to the bit, with
and without the optimisations of onnxruntime 1.32, for (leaky) ReLU, ReLU6 and shortcuts. With SiLU
and attention, whose exponential functions are computed of the same operations, none of 1.2 million
counts of YOLOv8n and 2.4 million of YOLO26n differed for one photograph, nor did their heads.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import onnx
import torch
import torch.nn.functional as F
from onnx_ir.passes import Sequential
from onnx_ir.passes import common as passes
from onnxscript import optimizer
from torch import Size, Tensor, nn

from spiking_yolo import __version__
from spiking_yolo.convert.load import Converted
from spiking_yolo.decode.boxes import decode
from spiking_yolo.decode.selection import Selection
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, forward, geometry, shapes
from spiking_yolo.integer.convolution import EXACT, WholeConvolution
from spiking_yolo.integer.execute import Frame, events, execute
from spiking_yolo.integer.plan import Convolution, Plan, Step, compile
from spiking_yolo.io.text import json_text
from spiking_yolo.models.index import licence
from spiking_yolo.models.spec import Spec
from spiking_yolo.onnx import operators
from spiking_yolo.recipe import Recipe
from spiking_yolo.spikes import operations
from spiking_yolo.spikes.counting import Counts


def ann_model(graph: Graph, spec: Spec, *, boxes: Selection | None = None) -> onnx.ModelProto:
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
    return _exported(ExportedStep(AnnStep(graph, sizes), spec, boxes), {"kind": "ann"})


def spiking_model(
    converted: Converted,
    *,
    stateful: bool = False,
    boxes: Selection | None = None,
    counts: bool = False,
) -> onnx.ModelProto:
    """A spiking network as an ONNX model of one step: T = 1, or a frame of a video.

    For methods that send complete values, such as the default; with `stateful` the graph takes the
    frames of a video one after the other.

    Input `images`, float32 [batch, 3, H, W], RGB / 255, which are rounded to bytes. Outputs
    `head_0`, ..., in the units of the ANN (`logits` of a classifier). Weights are held in 8 bits.
    Heads and events are those of the package, to the bit.

    Args:
        converted: A converted network.
        stateful: A state `state.NAME` goes in and comes out as `next.NAME`; all are zeros before
            the first frame. Metadata `states` lists them. Frames are taken as they come: noise is
            not removed (encoding.denoise).
        boxes: Instead of the heads one output `detections`, [D, 7]: image of the batch, x1, y1, x2,
            y2 in pixels of the network's input and not clipped, confidence, class; best first.
        counts: Also `spikes`, `digits` and `messages` of the call, [batch, senders] (metadata
            `senders`), `operations`, [batch, 3], in these countings, and `events.NAME` of each
            sender, [batch, 3, ...], summed over channels (over segments of channels,
            [batch, 3 * segments, ...], where a later node takes slices of them).

    Raises:
        UserError: The method cannot be one step of a graph.

    Example:
        >>> from spiking_yolo import SpikingYOLO
        >>> model = spiking_model(SpikingYOLO().converted, stateful=True, counts=True)
    """
    graph, recipe, spec = converted.graph, converted.recipe, converted.spec
    if not recipe.complete:
        needed = "--method signed-digits, or a .safetensors file"
        raise UserError(f"{recipe.name} takes T steps, and ONNX files hold one: choose {needed}")
    if stateful and not recipe.keeps_frames:
        raise UserError("--stateful needs a state: --set encoding.frames=keep")
    step = IntegerStep(compile(graph, converted.neurons, recipe, spec), recipe, stateful)
    module = ExportedStep(step, spec, boxes, counts)
    table: list[dict[str, Any]] = []
    for name, shape in module.step.states.items():
        sizes: list[Any] = list(shape)
        if name != CLOCK:
            sizes[0] = "batch"
        table.append({"input": f"state.{name}", "output": f"next.{name}", "shape": sizes})
    metadata = {
        "kind": "spiking",
        "method": recipe.name,
        "recipe": recipe.to_json(),
        "provenance": json_text(dict(converted.provenance)),
        "weights": converted.provenance.get("weights", ""),
        "senders": json_text(list(step.segments)),
        "states": json_text(table),
    }
    return _exported(module, metadata)


# The state that counts the steps before this one, [1].
CLOCK = "frames"
# A step returns heads in the units of the ANN; the states by name, for the next step; and
# node that sends events -> the Counts of this step at each position, [N, 3, ...], or
# [N, 3 * segments, ...] where slices of channels tell them apart.
Stepped = tuple[Sequence[Tensor], Mapping[str, Tensor], Mapping[str, Tensor]]


class AnnStep:
    """The forward pass of the ANN: a step that keeps no state and sends no events.

    Attributes:
        graph: The network whose operations are counted.
        sizes: Shape of every node's output, [1, C, ...].
        states: Name -> shape for one image, [1, C, ...], of what the step keeps; CLOCK, of all
            images, is [1] and the first. All are zeros before the first step.
        segments: Node that sends events -> how many segments of channels it has whose events are
            counted together.
    """

    def __init__(self, graph: Graph, sizes: Mapping[str, Size]):
        self.graph, self.sizes = graph, sizes
        self.states: Mapping[str, Size] = {}
        self.segments: Mapping[str, int] = {}

    def __call__(self, x: Tensor, states: Mapping[str, Tensor]) -> Stepped:
        """One step of images, [N, 3, H, W]; states: by name."""
        return forward(self.graph, x), {}, {}


class IntegerStep(AnnStep):
    """A photograph, or a frame of a video, of a network of whole numbers.

    Args:
        plan: The network, whose convolutions are replaced.
        recipe: Its method.
        stateful: Whether the next image may be a frame of the same video.
    """

    def __init__(self, plan: Plan, recipe: Recipe, stateful: bool):
        super().__init__(plan.counted, plan.sizes)
        self.plan, self.recipe = plan.map(exported), recipe
        self.segments = {name: len(ends) for name, ends in plan.ends.items()}
        if stateful:
            self.states = {CLOCK: Size([1])} | {name: self.sizes[name] for name in self.segments}

    def __call__(self, x: Tensor, states: Mapping[str, Tensor]) -> Stepped:
        plan, following = self.plan, dict[str, Tensor]()
        before, dead_zone = None, 0.0
        if states:
            before, following[CLOCK] = Frame(states, ()), states[CLOCK] + 1
            later = states[CLOCK][0] > 0
            # The product is that of Python's floats.
            dead_zone = later.double() * self.recipe.neuron.dead_zone
        frame = execute(plan, plan.parameters.whole(plan.parameters.rounded(x)), before, dead_zone)
        if states:
            following |= {name: frame.sent[name] for name in self.segments}
        counts: dict[str, Tensor] = {}
        for name in self.segments:
            old = states[name] if states else None
            each = events(plan, name, frame.sent[name], old).unflatten(0, (3, x.shape[0]))
            counts[name] = each.movedim(0, 1).flatten(1, 2)
        return frame.outputs, {name: following[name] for name in self.states}, counts


def exported(step: Step) -> Step:
    """The step with weights as ONNX files hold them."""
    if isinstance(step, Convolution):
        return replace(step, whole=ExportedConvolution(step.whole))
    return step


class ExportedConvolution(WholeConvolution):
    """A convolution or linear layer of which ONNX files hold weights of 8 bits, and whose sums are
    int32: where they could pass 2^24, those of some input channels after the others.
    """

    def __init__(self, layer: WholeConvolution):
        super().__init__(layer.levels, layer.attrs, layer.largest, layer.border)
        parts = 1
        if self.wide:
            parts += int(self.reach * self.largest // EXACT)
        size = -(-self.levels.shape[1] // parts)
        self._parts = [part.to(torch.int8) for part in self.levels.split(size, 1)]

    def __call__(self, x: Tensor) -> Tensor:
        a, given = self.attrs, [x]
        if len(self._parts) > 1:
            by_group = x.unflatten(1, (a.get("groups", 1), -1))
            given = [part.flatten(1, 2) for part in by_group.split(self._parts[0].shape[1], 2)]
        sums: list[Tensor] = []
        for part, levels in zip(given, self._parts, strict=True):
            if levels.ndim == 2:
                sums.append(F.linear(part, levels.float()))
            else:
                sums.append(F.conv2d(part, levels.float(), None, *geometry(a)))
        whole = sum((each.to(torch.int32) for each in sums[1:]), sums[0].to(torch.int32))
        if self.border is not None:
            # The border is added before sums above 2^24 are rounded, as in the package.
            whole = whole + self.border.whole().to(torch.int32)
        return whole.float()


class ExportedStep(nn.Module):
    """A step from images to named results."""

    def __init__(self, step: AnnStep, spec: Spec, boxes: Selection | None, counts: bool = False):
        super().__init__()
        self.step = step
        self.spec = spec
        self.boxes = boxes
        self.counted = counts
        if boxes is not None and spec.task != "detect":
            raise UserError("a classifier finds no boxes: leave --boxes out")
        if boxes is not None and (boxes.classes is not None or boxes.multi_label):
            raise UserError("boxes in ONNX are of all classes: leave classes and multi_label out")
        if counts:
            # Operations per event in the first step, and what more it is in later ones.
            self.costs = self._costs(first=True)
            more = self._costs(first=False) - self.costs
            self.more: Tensor | None = None
            if step.states and bool(more.any()):
                self.more = more

    def _costs(self, first: bool) -> Tensor:
        """Operations that an event causes, at each position of all senders, one after the other."""
        step = self.step
        sent = {name: (n, *step.sizes[name][2:]) for name, n in step.segments.items()}
        costs = operations.costs_of_events(step.graph, step.sizes, sent, first)
        return torch.cat([cost.flatten() for cost in costs.values()])

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
        mean, std = images.new_tensor(self.spec.mean), images.new_tensor(self.spec.std)
        if self.spec.mean != (0.0,) * 3 or self.spec.std != (1.0,) * 3:
            images = (images - mean[:, None, None]) / std[:, None, None]
        named = dict(zip(self.step.states, states, strict=True))
        outputs, following, sent = self.step(images, named)
        results: dict[str, Tensor] = {}
        if self.boxes is not None:
            results["detections"] = detections(outputs, self.spec, self.boxes)
        elif self.spec.task == "classify":
            results["logits"] = outputs[0]
        else:
            for k, output in enumerate(outputs):
                results[f"head_{k}"] = output
        if self.counted:
            results |= self._counts(sent, states)
            for name, events in sent.items():
                results[f"events.{name}"] = events
        for name, state in following.items():
            results[f"next.{name}"] = state
        return results

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


def detections(outputs: Sequence[Tensor], spec: Spec, selection: Selection) -> Tensor:
    """Boxes off the heads [N, ...]: see `spiking_model`. As `Selection.boxes` has them."""
    boxes, scores = decode(outputs, spec)
    size = boxes.new_tensor([spec.width, spec.height, spec.width, spec.height])
    boxes = boxes.clamp(-1, 2) * size
    iou = selection.largest_overlap(spec.nms)
    best, label = scores.max(2)
    by_class = best[:, None]
    if not selection.agnostic_nms:
        by_class = scores.transpose(1, 2)
        if spec.nms:
            # A box counts for its best class alone.
            of_best = torch.arange(scores.shape[2], device=scores.device)[:, None] == label[:, None]
            by_class = by_class * of_best.to(best)
    kept = operators.suppress(boxes, by_class, selection.conf, iou, selection.max_det)
    image, row, box = kept.unbind(1)
    class_id = label[image, box] if selection.agnostic_nms else row
    columns = [image, *boxes[image, box].unbind(1), by_class[image, row, box], class_id]
    found = torch.stack([column.float() for column in columns], 1)
    found = found[found[:, 5].argsort(descending=True)]
    # Suppression leaves up to max_det boxes of each class.
    of_image = (found[:, :1] == torch.arange(boxes.shape[0], device=boxes.device)).long()
    rank = (of_image.cumsum(0) * of_image).sum(1)
    return found[rank <= selection.max_det]


def _exported(module: ExportedStep, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The model of a module, checked, with what its user has to know."""
    spec, batch = module.spec, torch.export.Dim("batch")
    # Two of each, since the exporter takes a batch of one for a constant.
    given: list[Any] = [torch.zeros(2, 3, spec.height, spec.width)]
    moving: list[Any] = [{0: batch}]
    if module.step.states:
        given.append(module.zeros(2))
        moving.append([{} if name == CLOCK else {0: batch} for name in module.step.states])
    with warnings.catch_warnings(), torch.no_grad():
        # torch warns about its own code.
        warnings.simplefilter("ignore")
        names = list(module.results(*given))
        program = torch.onnx.export(
            module.eval(),
            tuple(given),
            dynamo=True,
            dynamic_shapes=tuple(moving),
            custom_translation_table=operators.TRANSLATIONS,
            opset_version=operators.OPSET,
            # The exporter's rewriting rules would take minutes.
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
    given_names = ["images", *(f"state.{name}" for name in module.step.states)]
    for value, name in zip(program.model.graph.inputs, given_names, strict=True):
        value.name = name
    for value, name in zip(program.model.graph.outputs, names, strict=True):
        value.name = name
    model = program.model_proto
    # The source line of each node would take half of the file, and name its folder.
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
