"""The page of photographs: boxes, spikes, error and energy at every timestep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.apps.detect.run import DetectRun, Seen, Sink
from spiking_yolo.apps.page import as_bytes, facts, make_page, rounded, small_map, sprite
from spiking_yolo.draw.page import box_rows, class_ids, legend, picture_uri
from spiking_yolo.metrics.energy import every_cost_model
from spiking_yolo.observe import Observation
from spiking_yolo.snn.operations import LayerSize, layer_sizes

MAP_SIDE = 52  # cells on the longer side of a heat map


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

    def image(self, seen: Seen) -> None:
        self.photographs.append(self._content(seen.source, seen.observation))
        self.neurons = seen.observation.neurons_by_layer

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
        assert seen.input.image is not None
        height, width = seen.input.image.shape[:2]
        boxes = [seen.steps[t].boxes for t in self.run.steps]
        self.classes |= class_ids([seen.ann_boxes, *boxes])
        return {
            "name": Path(source).name,
            "width": width,
            "height": height,
            "image": picture_uri(seen.input.image),
            "ann": box_rows(seen.ann_boxes),
            "boxes": list(map(box_rows, boxes)),
            **self._costs(seen),
            "layers": [self._layer(layer, seen) for layer in self.layers],
            "maps": self._maps(seen),
        }

    def _costs(self, seen: Observation) -> dict[str, Any]:
        """By step: output error, operations per MAC, spikes, mean rate, digits, and mJ of every
        cost model.
        """
        costs = self.run.costs
        size = costs.size(seen)
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
            work = costs.work(seen, t)
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
