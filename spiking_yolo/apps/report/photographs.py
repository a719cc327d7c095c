"""Pictures inside of a page: data URIs of JPEG and PNG, within a budget of bytes."""

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from torchvision.ops import box_iou

from spiking_yolo.apps.evaluate.costs import CostModel
from spiking_yolo.apps.report.page import rounded
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.output_error import relative_error
from spiking_yolo.data.images import Placement, preprocess, read_image
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.selection import Selection
from spiking_yolo.draw.overlay import map_on_image
from spiking_yolo.graph import forward, shapes
from spiking_yolo.graph.graph import layer_titles, weighted_before
from spiking_yolo.metrics.energy import accounts, charged
from spiking_yolo.models.spec import Spec
from spiking_yolo.snn.counting import Counting, Counts
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.operations import macs, operations_by_layer
from spiking_yolo.snn.plan import SimulationOptions
from spiking_yolo.snn.readout import Run

# Longer side, quality.
PHOTOGRAPHS = ((1280, 85), (1120, 80), (960, 75), (800, 70), (640, 60), (480, 50), (320, 40))
THUMBNAILS = ((480, 70), (400, 60), (320, 50), (256, 45), (192, 40), (128, 35))

_HIGHEST = 8192  # pixels of a PNG


def data_uri(content: bytes, kind: str) -> str:
    """kind: "jpeg" or "png"."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def jpeg(pixels: np.ndarray, side: int, quality: int) -> bytes:
    """uint8 [H, W, 3] RGB as a JPEG whose longer side has at most `side` pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    content = io.BytesIO()
    image.save(content, "jpeg", quality=quality, optimize=True, progressive=True)
    return content.getvalue()


def photograph(pixels: np.ndarray, budget: int) -> str:
    """The best JPEG of PHOTOGRAPHS whose data URI has at most `budget` characters, or the
    smallest.
    """
    uri = ""
    for side, quality in PHOTOGRAPHS:
        uri = data_uri(jpeg(pixels, side, quality), "jpeg")
        if len(uri) <= budget:
            break
    return uri


def thumbnails(frames: Sequence[bytes], budget: int) -> list[str]:
    """JPEGs of the first of THUMBNAILS, again and smaller until all data URIs together fit into
    `budget` characters.
    """
    for k, (side, quality) in enumerate(THUMBNAILS):
        if k:
            frames = [
                jpeg(np.asarray(Image.open(io.BytesIO(frame))), side, quality) for frame in frames
            ]
        if sum(map(len, frames)) * 4 / 3 <= budget:
            break
    return [data_uri(frame, "jpeg") for frame in frames]


def sprite(tiles: np.ndarray) -> dict[str, Any]:
    """Pictures of one size, uint8 [n, h, w], row by row in one grey PNG: equal ones cost next to
    nothing.

    columns: of tiles in the PNG, more than one where it would be higher than browsers draw.
    """
    n, height, width = tiles.shape
    columns = -(-n * height // _HIGHEST)
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
    """A map [h, w] of the network's input over the photograph, float32, with at most `side` cells
    on its longer side.

    Larger ones are averaged, so that the mean stays.
    """
    part = map_on_image(rate, placement)
    scale = min(1.0, side / max(part.shape))
    height, width = (max(1, round(n * scale)) for n in part.shape)
    return adaptive_avg_pool2d(part[None], (height, width))[0]


def as_bytes(maps: Tensor) -> tuple[np.ndarray, list[float], list[float]]:
    """Maps [n, h, w] as uint8, each from 0 at its own smallest value to 255 at its largest; and
    those values.
    """
    low, high = maps.flatten(1).aminmax(dim=1)
    scaled = (maps - low[:, None, None]) / (high - low).clamp(min=1e-30)[:, None, None]
    return (255 * scaled).round().to(torch.uint8).numpy(), low.tolist(), high.tolist()


SAME = 0.5  # IoU of two boxes of one object
# Confidence from which an object is followed, whatever boxes are shown.
FAINT = 0.01


@dataclass(frozen=True)
class Followed:
    """An object. ann: the ANN's confidence, confidence: that at each step; None where it is below
    FAINT.
    """

    class_id: int
    ann: float | None
    confidence: list[float | None]


def follow(ann: Detections, steps: Mapping[int, Detections], conf: float) -> list[Followed]:
    """Objects that the ANN or any step finds with a confidence above `conf`: those of the ANN
    first, the surest first.

    ann, steps: boxes above FAINT. A box belongs to an object of its class that it overlaps by more
    than SAME; each object has at most one box at a time, the surest.
    """
    found: list[tuple[Tensor, int]] = []
    for boxes in (ann, *reversed(list(steps.values()))):
        sure = boxes.take(boxes.confidence > conf)
        free = set(range(len(sure))) - set(_assigned(found, sure).values())
        found += [(sure.xyxy[k], int(sure.class_id[k])) for k in sorted(free)]
    by_ann = _confidences(found, ann)
    by_step = [_confidences(found, boxes) for boxes in steps.values()]
    objects = [Followed(c, by_ann[k], [of[k] for of in by_step]) for k, (_, c) in enumerate(found)]
    return sorted(objects, key=lambda one: (one.ann is None or one.ann <= conf, -_most(one)))


def _most(one: Followed) -> float:
    return max(c or 0.0 for c in (one.ann, *one.confidence))


def _confidences(objects: list[tuple[Tensor, int]], boxes: Detections) -> list[float | None]:
    mine = _assigned(objects, boxes)
    return [float(boxes.confidence[mine[k]]) if k in mine else None for k in range(len(objects))]


def _assigned(objects: list[tuple[Tensor, int]], boxes: Detections) -> dict[int, int]:
    """Object -> its box; the surest boxes choose first, each the object that it overlaps most."""
    if not objects or not len(boxes):
        return {}
    overlap = box_iou(boxes.xyxy, torch.stack([box for box, _ in objects]))
    overlap = overlap * (boxes.class_id[:, None] == torch.tensor([c for _, c in objects]))
    mine: dict[int, int] = {}
    for k in range(len(boxes)):  # the surest first
        row = overlap[k].clone()
        row[list(mine)] = 0
        best = int(row.argmax())
        if row[best] > SAME:
            mine[best] = k
    return mine


def unmatched(ann: Detections, snn: Detections) -> tuple[list[int], list[int]]:
    """Positions of the boxes that only one of them has."""
    mine = _assigned([(box, int(c)) for box, c in zip(ann.xyxy, ann.class_id, strict=True)], snn)
    missed = [k for k in range(len(ann)) if k not in mine]
    return missed, sorted(set(range(len(snn))) - set(mine.values()))


def class_ids(every: Iterable[Detections]) -> set[int]:
    """The classes of all boxes."""
    return {int(c) for boxes in every for c in boxes.class_id}


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer and the neurons behind it.

    neurons: name of their activation, None at an output. macs: multiply-accumulates of the ANN in
    this layer.
    """

    name: str
    title: str
    neurons: str | None
    macs: int


@dataclass(frozen=True)
class LayerCounts:
    """What layers have done so far: events sent by activation, operations received by weighted
    node.
    """

    sent: Mapping[str, Counts]
    operations: Mapping[str, Counts]

    @classmethod
    def of(cls, network: SpikingNetwork) -> "LayerCounts":
        """Of the first image of the run that is going on."""
        counts = network.counts()
        sent = {name: Counts.of(_total, count) for name, count in counts.items()}
        operations = operations_by_layer(network.graph, counts)
        return cls(
            sent,
            {name: Counts.of(lambda n: float(n[0]), count) for name, count in operations.items()},
        )


def _total(events: torch.Tensor) -> float:
    return float(events[0].sum(dtype=torch.float64))


def layers_of(network: SpikingNetwork, spec: Spec) -> list[Layer]:
    """The layers in order, as they are simulated."""
    graph = network.graph
    sizes = shapes(graph, spec.height, spec.width)
    titles, behind = (
        layer_titles(graph, sizes),
        {layer: name for name, layer in weighted_before(graph).items()},
    )
    return [
        Layer(
            node.name,
            titles[behind.get(node.name, node.name)],
            behind.get(node.name),
            macs(graph, node, sizes[node.inputs[0]]),
        )
        for node in graph.weighted
    ]


def layer_columns(
    layers: list[Layer],
    run: Run,
    counts: Mapping[int, LayerCounts],
    steps: list[int],
    counting: Counting,
) -> list[dict[str, Any]]:
    """Of each layer its numbers by step: spikes and digits that its neurons sent, operations that
    it received.

    operations: in the method's own counting; None where the input is analogue.
    """
    return [
        {
            "spikes": [run.snapshots[t].spikes[one.neurons].item() for t in steps]
            if one.neurons
            else None,
            "digits": [counts[t].sent[one.neurons].digits for t in steps] if one.neurons else None,
            "operations": rounded(
                [getattr(counts[t].operations[one.name], counting) for t in steps]
            )
            if one.name in counts[steps[0]].operations
            else None,
        }
        for one in layers
    ]


# Cells on the longer side of a heat map.
MAP_SIDE = 52
OBJECTS = 12  # are followed in the plot
# characters, so that ten stay below 5 MB.
PER_PHOTOGRAPH = 440_000


@dataclass(frozen=True, eq=False)
class Photographer:
    """A network, and how it is looked at. steps: the timesteps of the slider. progress(t) after
    each timestep.
    """

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
        """Neurons of a layer, a pair counting as two; 0 at an output. After the first
        photograph.
        """
        if layer.neurons is None:
            return 0
        return (
            self.network.layer(layer.neurons).count[0].numel()
            * self.network.layer(layer.neurons).neurons_per_site
        )

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
        (ann,) = faint.boxes(exact, spec, [placement])
        steps = {}
        for t in self.steps:
            (steps[t],) = faint.boxes(run.snapshots[t].outputs, spec, [placement])

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
                "operations": [
                    float(getattr(s.operations, model.counting)) / run.macs for s in snapshots
                ],
                "spikes": [sum(n.item() for n in s.spikes.values()) for s in snapshots],
                "digits": [float(s.sent.digits) for s in snapshots],
                "energy": {a.key: [a.snn(work, size) for work in works] for a in accounts()},
                "annEnergy": {a.key: a.ann(size) for a in accounts()},
            }
        )

    def _maps(self, run: Run, placement: Placement) -> list[dict[str, Any] | None]:
        """Of each layer its spikes so far at every step, and low, high and mean per neuron. None
        without a place.
        """
        found: list[dict[str, Any] | None] = []
        for layer in self.layers:
            if layer.neurons not in run.snapshots[self.steps[0]].maps:
                found.append(None)
                continue
            maps = [
                small_map(run.snapshots[t].maps[layer.neurons][0].cpu(), placement, MAP_SIDE)
                for t in self.steps
            ]
            tiles, low, high = as_bytes(torch.stack(maps))
            means = [float(one.mean()) for one in maps]
            found.append(
                {
                    **sprite(tiles),
                    "low": rounded(low),
                    "high": rounded(high),
                    "mean": rounded(means),
                }
            )
        return found


def box_rows(boxes: Detections) -> list[list[Any]]:
    """[x1, y1, x2, y2, confidence, class] of each box, in whole pixels of the photograph."""
    columns = boxes.xyxy.round().int().tolist(), boxes.confidence.tolist(), boxes.class_id.tolist()
    return [[*xyxy, round(confidence, 3), c] for xyxy, confidence, c in zip(*columns, strict=True)]
