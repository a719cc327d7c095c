"""The page of `detect --page`, of photographs at every timestep or of a video frame by frame."""

import io
from collections.abc import Mapping
from dataclasses import asdict, replace
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

from spiking_yolo.apps.detect.run import DetectRun, Sink, Source
from spiking_yolo.convert.load import Converted
from spiking_yolo.data.images import Placement
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.draw.boxes import colours_of, hexadecimal, text_colour, track_colour
from spiking_yolo.draw.page import THUMBNAIL, box_rows, data_uri, html_page, legend, picture_uri
from spiking_yolo.io.files import atomic_write, command_line, versions
from spiking_yolo.io.text import Size, finite, size_name
from spiking_yolo.metrics.energy import BY_KEY, EVERY_COST_MODEL
from spiking_yolo.observe import Observation
from spiking_yolo.result import Result
from spiking_yolo.spikes.operations import LayerSize, layer_sizes
from spiking_yolo.spikes.plan import NetworkPlan

# Cells on the longer side of a heat map, of a photograph and of a frame.
MAP_SIDE, HEAT_SIDE = 52, 48
# Pixels; browsers do not draw a higher PNG.
PNG_HEIGHT = 8192
HTML = files("spiking_yolo.apps.page") / "html"

# Numbers of a page: at most four digits.
rounded = partial(finite, digits=4)


def facts(converted: Converted) -> dict[str, Any]:
    """Network, method, cost models, and what made the page."""
    recipe = converted.recipe
    colours = colours_of(BY_KEY)
    cost_models: list[dict[str, str]] = []
    for model in EVERY_COST_MODEL:
        own = {"colour": colours[model.key], "meaning": model.meaning}
        cost_models.append({"key": model.key, "name": model.name, **own})
    return {
        "network": converted.provenance.get("weights", "a network"),
        "method": recipe.label,
        "counting": recipe.counting,
        "settings": asdict(recipe),
        "cost_models": cost_models,
        "date": date.today().isoformat(),
        "command": command_line(),
        "versions": versions(),
    }


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
    whole = np.block([[*row] for row in grid.reshape(rows, columns, height, width)])
    content = io.BytesIO()
    Image.fromarray(whole).save(content, "png", optimize=True)
    size = {"width": width, "height": height, "columns": columns}
    return {"sprite": data_uri(content.getvalue(), "png"), **size}


def small_map(rate: Tensor, placement: Placement, side: int) -> Tensor:
    """A map [h, w] of the network's input, cut to the photograph, with at most `side` cells on its
    longer side. Cells are averaged, so that the mean stays.
    """
    whole = interpolate(rate[None, None], placement.network[::-1], mode="nearest-exact")[0, 0]
    width, height = placement.resized
    left, top = placement.pad
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


class Page(Sink):
    """A page of a run.

    Args:
        path: Path of the file.
        run: Whose network it is.
    """

    kind = ""

    def __init__(self, path: Path, run: DetectRun):
        self.path = path
        self.run = run
        self.detector = run.detector
        converted = run.detector.converted
        self.graph = NetworkPlan(converted.graph, converted.recipe).graph
        # Ids of the classes in any picture.
        self.classes: set[int] = set()
        # The layers at each size of the input, which pictures of several shapes have.
        self.sizes: dict[Size, list[LayerSize]] = {}

    def layers(self, seen: Observation) -> list[LayerSize]:
        """Return the layers of the network at the size in which it saw a picture."""
        if seen.size not in self.sizes:
            self.sizes[seen.size] = layer_sizes(self.graph, *seen.size)
        return self.sizes[seen.size]

    def write(self, what: str, how: str, content: Mapping[str, Any]) -> None:
        """Write the file. content: of JSON's types, apart from what is known of any run."""
        data = {
            "kind": self.kind,
            **facts(self.detector.converted),
            "input": ", ".join(map(size_name, self.sizes)),
            "conf": self.run.options.conf,
            "classes": legend(self.classes, self.detector.names),
            "tracks": [],
            **content,
        }
        program = [HTML / f"{name}.js" for name in ("chart", "energy", self.kind)]
        title = f"{what} through {data['network']}, {how}"
        with atomic_write(self.path) as temporary:
            temporary.write_text(html_page(title, data, program), encoding="utf-8")

    def boxes(self, found: Detections) -> list[list[Any]]:
        self.classes.update(found.class_id.tolist())
        return box_rows(found)


class PhotographsPage(Page):
    """A page of all photographs of a run."""

    kind = "photographs"

    def __init__(self, path: Path, run: DetectRun):
        super().__init__(path, run)
        self.photographs: list[dict[str, Any]] = []

    def image(self, source: Source, result: Result) -> None:
        observation, image = result.seen, result.image
        layers = self.layers(observation)
        content = {
            "name": Path(source.path).name,
            "width": image.shape[1],
            "height": image.shape[0],
            "image": picture_uri(image),
            "ann": self.boxes(observation.ann_boxes),
            "boxes": [self.boxes(observation.steps[t].boxes) for t in self.run.steps],
            "layers": [self._layer(layer, observation) for layer in layers],
            "maps": [self._map(layer, observation) for layer in layers],
            **rounded(self._costs(result)),
        }
        self.photographs.append(content)

    def close(self) -> None:
        if not self.photographs:
            return
        first, *_ = self.sizes.values()
        layers = [{"title": layer.title, "place": layer.place} for layer in first]
        what = f"{len(self.photographs)} photographs"
        if len(self.photographs) == 1:
            what = self.photographs[0]["name"]
        content = {"T": self.run.T, "steps": self.run.steps}
        content |= {"layers": layers, "photographs": self.photographs}
        self.write(what, f"spiking until T = {self.run.T}", content)

    def _costs(self, result: Result) -> dict[str, Any]:
        """List by step: output error, operations per MAC, spikes, mean rate, digits, and mJ of
        every cost model.
        """
        seen, costs = result.seen, result.costs
        steps = [seen.steps[t] for t in self.run.steps]
        energies = [costs.energies(seen, t) for t in self.run.steps]
        return {
            "settled": seen.settled,
            "macs": seen.macs,
            "error": [step.error for step in steps],
            "operations": [step.operations[costs.counting] / seen.macs for step in steps],
            "spikes": [step.total_spikes for step in steps],
            "rate": [seen.mean_rate(t) for t in self.run.steps],
            "digits": [step.sent["digits"] for step in steps],
            "energy": {key: [one[key] for one in energies] for key in energies[0]},
            "annEnergy": costs.ann_energies(seen),
        }

    def _layer(self, layer: LayerSize, seen: Observation) -> dict[str, Any]:
        """Describe a layer: its size and, by step, spikes and digits that its neurons sent and
        operations that it received; None at an output, or where the input is analogue.
        """
        steps = [seen.steps[t] for t in self.run.steps]
        neurons = seen.neurons_by_layer.get(layer.neurons or "", 0)
        content: dict[str, Any] = {"neurons": neurons, "macs": layer.macs}
        content |= {"spikes": None, "digits": None, "operations": None}
        if name := layer.neurons:
            content["spikes"] = [step.spikes[name] for step in steps]
            content["digits"] = [step.sent_by_layer[name]["digits"] for step in steps]
        if layer.name in steps[0].operations_by_layer:
            counting = self.detector.converted.recipe.counting
            received = [step.operations_by_layer[layer.name][counting] for step in steps]
            content["operations"] = rounded(received)
        return content

    def _map(self, layer: LayerSize, seen: Observation) -> dict[str, Any] | None:
        """Spikes per neuron and timestep at every step, with low, high and mean; None for neurons
        without a place.
        """
        assert seen.input.placement is not None
        if layer.neurons not in seen.last.maps:
            return None
        maps: list[Tensor] = []
        mean: list[float] = []
        for t in self.run.steps:
            rate = seen.steps[t].rates[layer.neurons]
            maps.append(small_map(rate, seen.input.placement, MAP_SIDE))
            mean.append(float(rate.mean()))
        tiles, low, high = as_bytes(torch.stack(maps))
        return {**sprite(tiles), **rounded({"low": low, "high": high, "mean": mean})}


class VideoPage(Page):
    """A page of the one video of a run: a list per quantity, with an entry per frame."""

    kind = "video"

    def __init__(self, path: Path, run: DetectRun):
        super().__init__(path, run)
        self.columns: dict[str, list[Any]] = {}
        self.energy: dict[str, list[float]] = {}
        self.images: list[str] = []
        self.heat: list[np.ndarray] = []
        # Id and class -> positions of the frames in which the track is seen.
        self.tracks: dict[tuple[int, str], list[int]] = {}
        self.operations: dict[str, list[float]] = {}

    def frame(self, source: Source, result: Result) -> None:
        observation, costs = result.seen, result.costs
        for box in result.entries():
            if box.get("track_id") is not None:
                self.tracks.setdefault((box["track_id"], box["class"]), []).append(len(self.images))
        row = {
            "frame": result.frame,
            "time": result.time,
            "boxes": self.boxes(result.detections),
            "ann": self.boxes(replace(observation.ann_boxes, track_id=None)),
            "operations": result.operations_per_mac,
            "spikes": result.spikes,
            "cut": result.cut,
            "fresh": observation.fresh,
        }
        for key, value in row.items():
            self.columns.setdefault(key, []).append(value)
        for name, operations in observation.last.operations_by_layer.items():
            values = self.operations.setdefault(name, [])
            values.append(operations[costs.counting] / observation.macs)
        for key, value in result.energy.items():
            self.energy.setdefault(key, []).append(value)
        self.images.append(picture_uri(result.image, THUMBNAIL))
        layers = []
        for layer in observation.last.maps.values():
            layers.append(small_map(layer, result.placement, HEAT_SIDE))
        heat = torch.stack(layers).sum(0)
        if self.heat:
            # Frames of another size are shown in that of the first.
            heat = interpolate(heat[None, None], self.heat[0].shape)[0, 0]
        self.heat.append(heat.numpy())
        self._last, self._layers = (source, result), self.layers(observation)

    def end_video(self) -> None:
        if not self.images:
            return
        source, result = self._last
        tracks: list[dict[str, Any]] = []
        for (track_id, name), frames in sorted(self.tracks.items()):
            colour = track_colour(track_id)
            look = {"colour": hexadecimal(colour), "ink": hexadecimal(text_colour(colour))}
            tracks.append({"id": track_id, "name": f"{track_id} {name}", "frames": frames, **look})
        layers: list[dict[str, Any]] = []
        for layer in self._layers:
            if values := self.operations.get(layer.name):
                layers.append({"title": layer.title, "place": layer.place, "values": values})
        numbers = {**self.columns, "layers": layers, "energy": self.energy}
        numbers["annEnergy"] = result.ann_energy
        heat = np.log1p(np.stack(self.heat))
        top = float(heat.max()) or 1.0
        tiles = np.rint(255 / top * heat).astype(np.uint8)
        content = {
            **rounded(numbers),
            "tracks": tracks,
            "width": result.image.shape[1],
            "height": result.image.shape[0],
            "images": self.images,
            "heat": {**sprite(tiles), "peak": rounded(float(np.expm1(top)))},
            "T": result.T,
        }
        self.write(Path(source.path).name, "spiking, frame by frame", content)
