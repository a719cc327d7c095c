"""The page of photographs: boxes, spikes, error and energy at every timestep."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.apps.detect.run import DetectRun, ImageResult, Sink
from spiking_yolo.apps.page import as_bytes, facts, make_page, rounded, small_map, sprite
from spiking_yolo.decode.boxes import Detections, Object, assign
from spiking_yolo.draw.page import box_rows, class_ids, legend, photograph
from spiking_yolo.metrics.energy import every_cost_model
from spiking_yolo.observe import Observation
from spiking_yolo.snn.operations import LayerSize, layer_sizes

MAP_SIDE = 52  # cells on the longer side of a heat map
PLOTTED_OBJECTS = 12
# Characters of a photograph and its maps, so that ten stay below 5 MB.
PER_PHOTOGRAPH = 440_000


class PhotographsPage(Sink):
    """A page of all photographs of a run.

    Args:
        path: Path of the file.
        run: Whose network it is.
    """

    def __init__(self, path: Path, run: DetectRun):
        self.path = path
        self.run = run
        assert run.observer.network is not None
        spec = run.detector.spec
        self.layers = layer_sizes(run.observer.network.graph, spec.height, spec.width)
        self.photographs: list[dict[str, Any]] = []
        self.classes: set[int] = set()
        self.neurons: Mapping[str, int] = {}

    def image(self, seen: ImageResult) -> None:
        self.photographs.append(self._content(seen.source, seen.seen))
        self.neurons = seen.seen.neurons_by_layer

    def close(self) -> None:
        if not self.photographs:
            return
        run = self.run
        layers: list[dict[str, Any]] = []
        for layer in self.layers:
            neurons = self.neurons.get(layer.neurons or "", 0)
            layers.append({"title": layer.title, "neurons": neurons, "macs": layer.macs})
        data = {
            "kind": "photographs",
            **facts(run.detector.converted),
            "T": run.T,
            "steps": run.steps,
            "conf": run.options.conf,
            "layers": layers,
            "classes": legend(self.classes, run.detector.names),
            "photographs": self.photographs,
        }
        what = f"{len(self.photographs)} photographs"
        if len(self.photographs) == 1:
            what = self.photographs[0]["name"]
        title = f"{what} through {data['network']}, spiking for {run.T} timesteps"
        make_page(title, data).save(self.path)

    def _content(self, source: str, seen: Observation) -> dict[str, Any]:
        """What the page shows of a photograph, of JSON's types."""
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

    def _boxes(self, seen: Observation) -> dict[str, Any]:
        """Boxes of the ANN and at every step, and the objects among them."""
        sure = self.run.selection.sure
        by_step = {t: seen.steps[t].boxes for t in self.run.steps}
        ann = sure(seen.ann_boxes)
        shown = [sure(boxes) for boxes in by_step.values()]
        self.classes |= class_ids([ann, *shown])
        objects = follow(seen.ann_boxes, by_step, self.run.selection.conf)[:PLOTTED_OBJECTS]
        return {
            "ann": box_rows(ann),
            "boxes": list(map(box_rows, shown)),
            "objects": [rounded(asdict(one)) for one in objects],
        }

    def _costs(self, seen: Observation) -> dict[str, Any]:
        """By step: output error, operations per MAC, spikes, mean rate, digits, and mJ of every
        cost model.
        """
        costs = self.run.costs
        size = costs.size(seen.macs, seen.neurons)
        columns: dict[str, list[Any]] = {}
        energy: dict[str, list[float]] = {}
        for t in self.run.steps:
            step = seen.steps[t]
            row = {
                "error": seen.error(t),
                "operations": step.operations[costs.counting] / seen.macs,
                "spikes": step.total_spikes,
                "rate": seen.mean_rate(t),
                "digits": step.sent["digits"],
            }
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
            work, _ = costs.observed(seen, t)
            for cost_model in every_cost_model():
                energy.setdefault(cost_model.key, []).append(cost_model.snn(work, size))
        of_ann = {cost_model.key: cost_model.ann(size) for cost_model in every_cost_model()}
        content = {"settled": seen.settled, "macs": seen.macs, **columns}
        return rounded({**content, "energy": energy, "annEnergy": of_ann})

    def _layer(self, layer: LayerSize, seen: Observation) -> dict[str, Any]:
        """By step: spikes and digits that the neurons sent, operations that the layer received.

        None at an output, or where the input is analogue.
        """
        steps = [seen.steps[t] for t in self.run.steps]
        spikes = digits = operations = None
        if layer.neurons:
            spikes = [step.spikes[layer.neurons] for step in steps]
            digits = [step.sent_by_layer[layer.neurons]["digits"] for step in steps]
        if layer.name in steps[0].operations_by_layer:
            counting = self.run.costs.counting
            operations = rounded([s.operations_by_layer[layer.name][counting] for s in steps])
        return {"spikes": spikes, "digits": digits, "operations": operations}

    def _maps(self, seen: Observation) -> list[dict[str, Any] | None]:
        """For each layer its spikes per neuron and timestep at every step, with low, high and mean.
        None for neurons without a place.
        """
        assert seen.input.placement is not None
        sprites: list[dict[str, Any] | None] = []
        for layer in self.layers:
            if layer.neurons not in seen.last.maps:
                sprites.append(None)
                continue
            maps: list[Tensor] = []
            mean: list[float] = []
            for t in self.run.steps:
                step = seen.steps[t]
                rate = step.maps[layer.neurons] / step.active_steps
                maps.append(small_map(rate, seen.input.placement, MAP_SIDE))
                mean.append(float(rate.mean()))
            tiles, low, high = as_bytes(torch.stack(maps))
            sprites.append({**sprite(tiles), **rounded({"low": low, "high": high, "mean": mean})})
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
    """Confidence of each object's box."""
    confidences: list[float | None] = [None] * len(objects)
    for index, k in assign(objects, boxes).items():
        confidences[index] = float(boxes.confidence[k])
    return confidences
