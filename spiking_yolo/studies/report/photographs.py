"""Photographs through the network, with all that a page shows of every timestep."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.convert.calibrate_value import relative_error
from spiking_yolo.convert.converted import Converted
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.selection import Selection
from spiking_yolo.graph import forward
from spiking_yolo.io.images import Placement, preprocess, read_image
from spiking_yolo.metrics.energy import accounts
from spiking_yolo.metrics.work import charged
from spiking_yolo.snn.options import SimulationOptions
from spiking_yolo.snn.record import Run
from spiking_yolo.studies.evaluate.cost_model import CostModel
from spiking_yolo.studies.report.layers import Layer, LayerCounts, layer_columns, layers_of
from spiking_yolo.studies.report.objects import FAINT, class_ids, follow
from spiking_yolo.studies.report.page import rounded
from spiking_yolo.studies.report.pictures import as_bytes, photograph, small_map, sprite

MAP_SIDE = 52  # cells on the longer side of a heat map
OBJECTS = 12  # are followed in the plot
PER_PHOTOGRAPH = 440_000  # characters, so that ten stay below 5 MB


@dataclass(frozen=True, eq=False)
class Photographer:
    """A network, and how it is looked at. steps: the timesteps of the slider. progress(t) after each timestep."""

    converted: Converted
    steps: list[int]
    selection: Selection
    device: torch.device
    simulation: SimulationOptions = SimulationOptions()
    progress: Callable[[int], Any] = lambda t: None

    @cached_property
    def network(self) -> Any:
        return self.converted.network(self.device, simulation=self.simulation)

    @cached_property
    def layers(self) -> list[Layer]:
        return layers_of(self.network, self.converted.spec)

    @cached_property
    def costs(self) -> CostModel:
        return CostModel.of(self.converted)

    def sites(self, layer: Layer) -> int:
        """Neurons of a layer, a pair counting as two; 0 at an output. After the first photograph."""
        if layer.neurons is None:
            return 0
        return self.network.layer(layer.neurons).count[0].numel() * self.network.layer(layer.neurons).neurons_per_site

    @torch.no_grad()
    def photograph(self, path: str) -> dict[str, Any]:
        """What the page shows of one photograph. Raises UserError when it cannot be read."""
        spec = self.converted.spec
        pixels = read_image(path)
        x, placement = preprocess(pixels, spec)
        x = x[None].to(self.device)
        counts: dict[int, LayerCounts] = {}

        def after(t: int) -> None:
            if t in self.steps:
                counts[t] = LayerCounts.of(self.network)
            self.progress(t)

        run: Run = self.network.run(x, self.steps[-1], self.steps, maps=True, progress=after)
        last = LayerCounts.of(self.network)  # a quiet network stops early
        counts |= {t: last for t in self.steps if t not in counts}
        exact = forward(self.converted.graph.to(self.device), x)
        heat = self._maps(run, placement)
        used = sum(len(one["sprite"]) for one in heat if one)
        height, width = pixels.shape[:2]
        return {
            "name": Path(path).name,
            "width": width,
            "height": height,
            "image": photograph(pixels, PER_PHOTOGRAPH - used),
            **self._boxes(run, exact, placement),
            **self._costs(run, exact),
            "layers": layer_columns(self.layers, run, counts, self.steps, self.costs.counting),
            "maps": heat,
        }

    def _boxes(self, run: Run, exact: Sequence[Tensor], placement: Placement) -> dict[str, Any]:
        """Boxes of the ANN and at every step, and the objects among them."""
        spec, conf = self.converted.spec, self.selection.conf
        faint = replace(self.selection, conf=min(conf, FAINT), max_det=10**6)
        ann = faint.boxes(exact, spec, placement)
        steps = {t: faint.boxes(run.snapshots[t].outputs, spec, placement) for t in self.steps}

        def shown(boxes: Detections) -> Detections:
            return boxes.take(boxes.confidence > conf).take(slice(self.selection.max_det))

        seen = {t: shown(boxes) for t, boxes in steps.items()}
        return {
            "ann": box_rows(shown(ann)),
            "boxes": [box_rows(boxes) for boxes in seen.values()],
            "objects": [rounded(asdict(one)) for one in follow(ann, steps, conf)[:OBJECTS]],
            "classes": sorted(class_ids([shown(ann), *seen.values()])),
        }

    def _costs(self, run: Run, exact: Sequence[Tensor]) -> dict[str, Any]:
        """By step: output error, operations per MAC, spikes, digits, and mJ of every account."""
        model, charge = self.costs, charged(self.costs.value)
        size = model.size(run.macs, sum(run.neurons.values()))
        snapshots = [run.snapshots[t] for t in self.steps]
        works = [
            model.work(
                s.t, size, float(getattr(s.operations, charge)), float(getattr(s.sent, charge)),
                float(s.updates), run.analogue_macs,
            )
            for s in snapshots
        ]  # fmt: skip
        return rounded(
            {
                "quiet": run.quiet and asdict(run.quiet),
                "macs": run.macs,
                "error": [relative_error(s.outputs, exact) for s in snapshots],
                "operations": [float(getattr(s.operations, model.counting)) / run.macs for s in snapshots],
                "spikes": [sum(n.item() for n in s.spikes.values()) for s in snapshots],
                "digits": [float(s.sent.digits) for s in snapshots],
                "energy": {a.key: [a.snn(work, size) for work in works] for a in accounts()},
                "annEnergy": {a.key: a.ann(size) for a in accounts()},
            }
        )

    def _maps(self, run: Run, placement: Placement) -> list[dict[str, Any] | None]:
        """Of each layer its spikes so far at every step, and low, high and mean per neuron. None without a place."""
        found: list[dict[str, Any] | None] = []
        for layer in self.layers:
            if layer.neurons not in run.snapshots[self.steps[0]].maps:
                found.append(None)
                continue
            maps = [small_map(run.snapshots[t].maps[layer.neurons][0].cpu(), placement, MAP_SIDE) for t in self.steps]
            tiles, low, high = as_bytes(torch.stack(maps))
            means = [float(one.mean()) for one in maps]
            found.append({**sprite(tiles), "low": rounded(low), "high": rounded(high), "mean": rounded(means)})
        return found


def box_rows(boxes: Detections) -> list[list[Any]]:
    """[x1, y1, x2, y2, confidence, class] of each box, in whole pixels of the photograph."""
    columns = boxes.xyxy.round().int().tolist(), boxes.confidence.tolist(), boxes.class_id.tolist()
    return [[*xyxy, round(confidence, 3), c] for xyxy, confidence, c in zip(*columns, strict=True)]
