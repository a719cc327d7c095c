"""The page of photographs: boxes, spikes, error and energy at every timestep."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.apps.detect.run import spread_steps
from spiking_yolo.apps.evaluate.costs import CostModel
from spiking_yolo.apps.report import LEAST, ReportOptions
from spiking_yolo.apps.report.page import (
    as_bytes,
    facts,
    report_page,
    rounded,
    small_map,
    sprite,
)
from spiking_yolo.convert.methods import needed_timesteps
from spiking_yolo.convert.uncalibrated import FEW
from spiking_yolo.data.video import previewed
from spiking_yolo.decode import selection
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.selection import Selection
from spiking_yolo.detector import SpikingYOLO
from spiking_yolo.draw.page import Page, box_rows, class_ids, legend, photograph
from spiking_yolo.graph import Graph, shapes
from spiking_yolo.graph.graph import layer_before, layer_titles
from spiking_yolo.metrics.energy import every_account
from spiking_yolo.metrics.matching import Object, assign
from spiking_yolo.models.spec import Spec
from spiking_yolo.observe import EVERYTHING, Observation
from spiking_yolo.options import Progress, load, silent
from spiking_yolo.snn.operations import macs

SLIDER_STEPS = 24  # of a long run
MAP_SIDE = 52  # cells on the longer side of a heat map
PLOTTED_OBJECTS = 12
# Characters of a photograph and its maps, so that ten stay below 5 MB.
PER_PHOTOGRAPH = 440_000
# Confidence from which an object is followed, whatever boxes are shown.
FAINT = 0.01


def photographs_page(
    options: ReportOptions, sources: list[str], progress: Progress = silent
) -> Page:
    """The page of some photographs.

    Args:
        options: Of the report.
        sources: Paths of the photographs.
        progress: Called with (what, done, of how many, where) after each timestep; of all
            photographs together.

    Raises:
        UserError: A photograph or the network cannot be read.
    """
    converted = load(options, previewed(sources, FEW))
    detector = SpikingYOLO(
        converted,
        device=options.device,
    )
    needed = max(LEAST, needed_timesteps(converted.recipe.name))
    T = options.T or max(options.steps, default=needed)
    chosen = Selection.of(options, selection.class_ids(options.classes or None, detector.names))
    # Objects are followed below the confidence of the boxes that are shown.
    observer = detector.observer(replace(chosen, conf=min(chosen.conf, FAINT), max_det=10**6))
    assert observer.network is not None
    content = PhotographContent(
        steps=slider_steps(T, options.steps),
        layers=layers_of(observer.network.graph, converted.spec),
        costs=CostModel.of(converted),
        selection=chosen,
    )
    photographs: list[dict[str, Any]] = []
    classes: set[int] = set()
    neurons: Mapping[str, int] = {}
    for number, source in enumerate(sources, 1):
        where = f"photograph {number}/{len(sources)}"
        for seen in observer.observe(
            [source],
            T,
            content.steps,
            want=EVERYTHING,
            progress=lambda t, n=number, where=where: progress(
                "timesteps", (n - 1) * T + t, len(sources) * T, where
            ),
        ):
            photographs.append(content.of(source, seen))
            classes |= content.classes(seen)
            neurons = seen.neurons_by_layer
    layers = [
        {"title": layer.title, "neurons": neurons.get(layer.neurons or "", 0), "macs": layer.macs}
        for layer in content.layers
    ]
    data = {
        "kind": "photographs",
        **facts(converted),
        "T": T,
        "steps": content.steps,
        "conf": options.conf,
        "layers": layers,
        "classes": legend(classes, detector.names),
        "photographs": photographs,
    }
    what = photographs[0]["name"] if len(photographs) == 1 else f"{len(photographs)} photographs"
    return report_page(f"{what} through {data['network']}, spiking for {T} timesteps", data)


def slider_steps(T: int, steps: Sequence[int] = ()) -> list[int]:
    """Timesteps of the slider, T always: all of a short run; of a long one at most SLIDER_STEPS,
    denser at the start.
    """
    return sorted({*steps, T}) if steps else spread_steps(T, SLIDER_STEPS)


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer and the neurons behind it.

    Attributes:
        name: Of its node.
        title: What the page calls it.
        neurons: Name of their activation; None at an output.
        macs: Multiply-accumulates of the ANN in this layer.
    """

    name: str
    title: str
    neurons: str | None
    macs: int


def layers_of(graph: Graph, spec: Spec) -> list[Layer]:
    """The layers of a simulated graph, in order."""
    sizes = shapes(graph, spec.height, spec.width)
    titles = layer_titles(graph, sizes)
    neurons_of = {layer: neurons for neurons, layer in layer_before(graph).items()}
    layers: list[Layer] = []
    for node in graph.layers:
        neurons = neurons_of.get(node.name)
        count = macs(graph, node, sizes)
        layers.append(Layer(node.name, titles[neurons or node.name], neurons, count))
    return layers


@dataclass(frozen=True)
class PhotographContent:
    """What the page shows of a photograph.

    Attributes:
        steps: Timesteps of the slider.
        layers: Of the network, in order.
        costs: For energies, and the counting of operations.
        selection: Boxes that are shown.
    """

    steps: list[int]
    layers: list[Layer]
    costs: CostModel
    selection: Selection

    def of(self, source: str, seen: Observation) -> dict[str, Any]:
        """The content, of JSON's types. seen: with everything, and boxes from FAINT on."""
        maps = self._maps(seen)
        used = sum(len(sprites["sprite"]) for sprites in maps if sprites)
        assert seen.input.image is not None
        height, width = seen.input.image.shape[:2]
        return {
            "name": Path(source).name,
            "width": width,
            "height": height,
            "image": photograph(seen.input.image, PER_PHOTOGRAPH - used),
            **self._boxes(seen),
            **self._costs(seen),
            "layers": [self._layer(layer, seen) for layer in self.layers],
            "maps": maps,
        }

    def classes(self, seen: Observation) -> set[int]:
        """Classes of the boxes that are shown."""
        return class_ids([self._shown(seen.ann_boxes), *self._shown_boxes(seen)])

    def _shown(self, boxes: Detections) -> Detections:
        sure = boxes.take(boxes.confidence > self.selection.conf)
        return sure.take(slice(self.selection.max_det))

    def _shown_boxes(self, seen: Observation) -> list[Detections]:
        return [self._shown(seen.steps[t].boxes) for t in self.steps]

    def _boxes(self, seen: Observation) -> dict[str, Any]:
        """Boxes of the ANN and at every step, and the objects among them."""
        by_step = {t: seen.steps[t].boxes for t in self.steps}
        objects = follow(seen.ann_boxes, by_step, self.selection.conf)[:PLOTTED_OBJECTS]
        return {
            "ann": box_rows(self._shown(seen.ann_boxes)),
            "boxes": [box_rows(boxes) for boxes in self._shown_boxes(seen)],
            "objects": [rounded(asdict(one)) for one in objects],
        }

    def _costs(self, seen: Observation) -> dict[str, Any]:
        """By step: output error, operations per MAC, spikes, mean rate, digits, and mJ of every
        account.
        """
        steps = [seen.steps[t] for t in self.steps]
        size = self.costs.size(seen.macs, seen.neurons)
        works = [self.costs.observed(seen, t)[0] for t in self.steps]
        counting = self.costs.counting
        costs = {
            "settled": seen.settled,
            "macs": seen.macs,
            "error": [seen.error(t) for t in self.steps],
            "operations": [step.operations[counting] / seen.macs for step in steps],
            "spikes": [step.total_spikes for step in steps],
            "rate": [seen.mean_rate(t) for t in self.steps],
            "digits": [step.sent["digits"] for step in steps],
            "energy": {a.key: [a.snn(work, size) for work in works] for a in every_account()},
            "annEnergy": {a.key: a.ann(size) for a in every_account()},
        }
        return rounded(costs)

    def _layer(self, layer: Layer, seen: Observation) -> dict[str, Any]:
        """By step: spikes and digits that the neurons sent, operations that the layer received.

        None at an output, or where the input is analogue.
        """
        steps = [seen.steps[t] for t in self.steps]
        spikes = digits = operations = None
        if layer.neurons:
            spikes = [step.spikes[layer.neurons] for step in steps]
            digits = [step.sent_by_layer[layer.neurons]["digits"] for step in steps]
        if layer.name in steps[0].operations_by_layer:
            counting = self.costs.counting
            operations = rounded([s.operations_by_layer[layer.name][counting] for s in steps])
        return {"spikes": spikes, "digits": digits, "operations": operations}

    def _maps(self, seen: Observation) -> list[dict[str, Any] | None]:
        """Of each layer its spikes per neuron and timestep at every step, with low, high and mean.
        None for neurons without a place.
        """
        assert seen.input.placement is not None
        sprites: list[dict[str, Any] | None] = []
        for layer in self.layers:
            if layer.neurons not in seen.steps[self.steps[0]].maps:
                sprites.append(None)
                continue
            maps: list[Tensor] = []
            mean: list[float] = []
            for t in self.steps:
                step = seen.steps[t]
                rate = step.maps[layer.neurons] / step.active_steps
                maps.append(small_map(rate, seen.input.placement, MAP_SIDE))
                mean.append(float(rate.mean()))
            tiles, low, high = as_bytes(torch.stack(maps))
            numbers = rounded({"low": low, "high": high, "mean": mean})
            sprites.append({**sprite(tiles), **numbers})
        return sprites


@dataclass(frozen=True)
class Followed:
    """An object over time.

    Attributes:
        class_id: Its class.
        ann: The ANN's confidence; None below FAINT.
        confidence: The spiking network's at each step; None below FAINT.
    """

    class_id: int
    ann: float | None
    confidence: list[float | None]


def follow(ann: Detections, steps: Mapping[int, Detections], conf: float) -> list[Followed]:
    """Follow the objects that the ANN or any step detects with a confidence above `conf`.

    A box belongs to an object of its class that it overlaps by more than SAME_OBJECT; each object
    has at most one box at a time, the most confident.

    Args:
        ann: The ANN's boxes, from FAINT on.
        steps: t -> boxes of the spiking network, from FAINT on.
        conf: Confidence that makes a box an object.

    Returns:
        The ANN's objects first, then the most confident first.
    """
    objects: list[Object] = []
    for boxes in (ann, *reversed(list(steps.values()))):
        sure = boxes.take(boxes.confidence > conf)
        assigned = set(assign(objects, sure).values())
        for k in range(len(sure)):
            if k not in assigned:
                objects.append((sure.xyxy[k], int(sure.class_id[k])))
    by_ann = _confidences(objects, ann)
    by_step = [_confidences(objects, boxes) for boxes in steps.values()]
    followed: list[Followed] = []
    for k, (_, class_id) in enumerate(objects):
        followed.append(Followed(class_id, by_ann[k], [of_step[k] for of_step in by_step]))

    def order(one: Followed) -> tuple[bool, float]:
        highest = max(confidence or 0.0 for confidence in (one.ann, *one.confidence))
        return one.ann is None or one.ann <= conf, -highest

    return sorted(followed, key=order)


def _confidences(objects: list[Object], boxes: Detections) -> list[float | None]:
    """Of each object's box."""
    confidences: list[float | None] = [None] * len(objects)
    for index, k in assign(objects, boxes).items():
        confidences[index] = float(boxes.confidence[k])
    return confidences
