"""The page of `detect --page`, of photographs at every timestep or of a video frame by frame."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from spiking_yolo.apps.detect.run import DetectRun, Seen, Sink
from spiking_yolo.convert.converted import Converted
from spiking_yolo.data.images import Placement
from spiking_yolo.draw.colours import COST_MODEL_COLOURS, hexadecimal, track_colour
from spiking_yolo.draw.page import (
    THUMBNAIL,
    Page,
    box_rows,
    class_ids,
    data_uri,
    legend,
    picture_uri,
)
from spiking_yolo.io.json import finite
from spiking_yolo.io.names import size_name
from spiking_yolo.metrics.energy import CostModel, every_cost_model
from spiking_yolo.observe import Observation, layer_operations
from spiking_yolo.options import command_line, versions
from spiking_yolo.snn.operations import LayerSize, layer_sizes

# Cells on the longer side of a heat map, of a photograph and of a frame.
MAP_SIDE, HEAT_SIDE = 52, 48
# Pixels; browsers do not draw a higher PNG.
PNG_HEIGHT = 8192
HTML = files("spiking_yolo.apps.page") / "html"

# Numbers of a page: at most four digits.
rounded = partial(finite, digits=4)


def facts(
    converted: Converted, charged: Sequence[CostModel] = every_cost_model()
) -> dict[str, Any]:
    """Network, method, cost models, and what made the page."""
    spec, recipe = converted.spec, converted.recipe
    cost_models: list[dict[str, str]] = []
    for cost_model in charged:
        colour = COST_MODEL_COLOURS[cost_model.name]
        cost_models.append({"key": cost_model.key, "name": cost_model.name, "colour": colour})
    return {
        "network": converted.provenance.get("weights", "a network"),
        "input": size_name((spec.height, spec.width)),
        "method": recipe.title,
        "counting": recipe.counting,
        "settings": asdict(recipe),
        "cost_models": cost_models,
        "date": date.today().isoformat(),
        "command": command_line(),
        "versions": versions(),
    }


def make_page(title: str, data: Mapping[str, Any]) -> Page:
    """A page. data: of JSON's types; its "kind" is photographs or video."""
    return Page(title, data, [HTML / f"{name}.js" for name in ("chart", "energy", data["kind"])])


def sprite(tiles: np.ndarray) -> dict[str, Any]:
    """Tiles uint8 [n, h, w], row by row in one grey PNG, in which equal tiles cost next to nothing.

    Returns:
        The PNG, size of a tile, and "columns": tiles side by side, more than one if the PNG would
        be higher than PNG_HEIGHT.
    """
    n, height, width = tiles.shape
    columns = -(-n * height // PNG_HEIGHT)
    rows = -(-n // columns)
    grid = np.zeros((rows * columns, height, width), np.uint8)
    grid[:n] = tiles
    whole = (
        grid.reshape(rows, columns, height, width)
        .swapaxes(1, 2)
        .reshape(rows * height, columns * width)
    )
    content = io.BytesIO()
    Image.fromarray(whole).save(content, "png", optimize=True)
    return {
        "sprite": data_uri(content.getvalue(), "png"),
        "width": width,
        "height": height,
        "columns": columns,
    }


def small_map(rate: Tensor, placement: Placement, side: int) -> Tensor:
    """A map [h, w] of the network's input, cut to the photograph, with at most `side` cells on its
    longer side. Cells are averaged, so that the mean stays.
    """
    whole = interpolate(rate[None, None], placement.network[::-1], mode="nearest-exact")[0, 0]
    width, height = placement.resized
    left, top = map(round, placement.pad)
    scale = min(1.0, side / max(width, height))
    small = max(1, round(scale * height)), max(1, round(scale * width))
    return adaptive_avg_pool2d(whole[None, top : top + height, left : left + width], small)[0]


def as_bytes(maps: Tensor) -> tuple[np.ndarray, list[float], list[float]]:
    """Scale each map of [n, h, w] to uint8, from 0 at its smallest value to 255 at its largest.

    Returns:
        The scaled maps, the smallest and the largest values.
    """
    low, high = maps.flatten(1).aminmax(dim=1)
    scaled = (maps - low[:, None, None]) / (high - low).clamp(min=1e-30)[:, None, None]
    return (255 * scaled).round().to(torch.uint8).numpy(), low.tolist(), high.tolist()


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


class VideoPage(Sink):
    """A page of the one video of a run: a list per quantity, with an entry per frame.

    Args:
        path: Path of the file.
        run: Whose network it is.
    """

    def __init__(self, path: Path, run: DetectRun):
        self.path = path
        self.run = run
        self.columns: dict[str, list[Any]] = {}
        self.energy: dict[str, list[float]] = {
            cost_model.key: [] for cost_model in every_cost_model()
        }
        self.ann_energy: dict[str, float] = {}
        self.classes: set[int] = set()
        self.images: list[str] = []
        self.heat: list[np.ndarray] = []
        # Id and class -> positions of the frames in which the track is seen.
        self.tracks: dict[tuple[int, str], list[int]] = {}
        self.layers: dict[str, list[float]] = {}

    def frame(self, seen: Seen) -> None:
        result, observation = seen.result, seen.observation
        converted, costs = self.run.detector.converted, self.run.costs
        row = {
            "frame": result.frame,
            "time": result.time,
            "boxes": box_rows(result.detections),
            "ann": box_rows(observation.ann_boxes),
            "operations": result.operations_per_mac,
            "spikes": result.spikes,
            "cut": result.cut,
            "fresh": result.fresh,
        }
        for key, value in row.items():
            self.columns.setdefault(key, []).append(value)
        for box in result.entries():
            if box.get("track_id") is not None:
                at = len(self.columns["frame"]) - 1
                self.tracks.setdefault((box["track_id"], box["class"]), []).append(at)
        by_layer = observation.last.operations_by_layer
        how = (converted.graph, costs.counting, observation.macs)
        for layer, operations in layer_operations(by_layer, *how).items():
            self.layers.setdefault(layer, []).append(operations)
        work, size = costs.work(observation, result.T), costs.size(observation)
        for cost_model in every_cost_model():
            self.energy[cost_model.key].append(cost_model.snn(work, size))
            self.ann_energy[cost_model.key] = cost_model.ann(size)
        self.classes |= class_ids([result.detections, observation.ann_boxes])
        self.images.append(picture_uri(result.image, THUMBNAIL))
        layers = []
        for layer in observation.last.maps.values():
            layers.append(small_map(layer, result.placement, HEAT_SIDE))
        self.heat.append(torch.stack(layers).sum(0).numpy())
        self._last = seen

    def end_video(self) -> None:
        if not self.columns:
            return
        result = self._last.result
        height, width = result.image.shape[:2]
        converted = self.run.detector.converted
        layers: list[dict[str, Any]] = []
        for layer, operations in self.layers.items():
            layers.append({"name": layer, "values": operations})
        numbers = {**self.columns, "energy": self.energy, "annEnergy": self.ann_energy}
        data = {
            "kind": "video",
            **facts(converted),
            "tracks": self._tracks(),
            "layers": rounded(layers),
            "width": width,
            "height": height,
            "images": self.images,
            **rounded(numbers),
            "heat": self._heat(),
            "T": result.T,
            "conf": self.run.options.conf,
            "classes": legend(self.classes, converted.spec.names),
        }
        name = Path(self._last.source).name
        title = f"{name} through {data['network']}, spiking, frame by frame"
        make_page(title, data).save(self.path)

    def _tracks(self) -> list[dict[str, Any]]:
        tracks: list[dict[str, Any]] = []
        for (track_id, name), frames in sorted(self.tracks.items()):
            colour = hexadecimal(track_colour(track_id))
            tracks.append({"name": f"{track_id} {name}", "colour": colour, "frames": frames})
        return tracks

    def _heat(self) -> dict[str, Any]:
        """Where events happen in each frame, on one logarithmic scale."""
        heat = np.log1p(np.stack(self.heat))
        top = float(heat.max()) or 1.0
        tiles = np.rint(255 / top * heat).astype(np.uint8)
        return {**sprite(tiles), "peak": rounded(float(np.expm1(top)))}
