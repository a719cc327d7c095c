"""The detector that a person calls: images in, boxes at every timestep out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .boxes import Detections
from .convert.converter import Converted
from .convert.load import load
from .decode.yolo import detections
from .errors import UserError
from .graph import run as run_ann
from .images import Placement, Source, fit, read_image


@dataclass(frozen=True)
class Result:
    """What was found in one image, and what finding it cost.

    image: uint8 [H, W, 3] RGB, upright; boxes are in its pixels. steps: t -> Detections, for the requested steps and T.
    T is 0 for the ANN, which has no spikes and no steps. settled: steps simulated before nothing changed any more.
    spikes_by_layer, neurons_by_layer: totals per layer. operations: synaptic operations; macs: multiply-accumulates
    of one ANN pass. maps: t -> layer -> spikes so far per position of the network input, [h, w], if asked for.
    """

    image: np.ndarray
    path: str | None
    names: tuple[str, ...]
    method: str
    T: int
    detections: Detections
    placement: Placement
    seconds: float
    steps: dict[int, Detections] = field(default_factory=dict)
    settled: int = 0
    spikes_by_layer: dict[str, float] = field(default_factory=dict)
    neurons_by_layer: dict[str, int] = field(default_factory=dict)
    operations: float = 0.0
    macs: int = 0
    maps: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def xyxy(self) -> Tensor:
        """Corners in pixels of the image, float32 [n, 4], best first."""
        return self.detections.xyxy

    @property
    def xywhn(self) -> Tensor:
        """Centre, width and height as fractions of the image, float32 [n, 4]."""
        height, width = self.image.shape[:2]
        x1, y1, x2, y2 = (self.xyxy / self.xyxy.new_tensor([width, height, width, height])).unbind(1)
        return torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], 1)

    @property
    def confidence(self) -> Tensor:
        return self.detections.confidence

    @property
    def class_id(self) -> Tensor:
        return self.detections.class_id

    @property
    def spikes(self) -> float:
        """Total number of spikes; a burst of n counts n."""
        return sum(self.spikes_by_layer.values())

    @property
    def mean_rate(self) -> float:
        """Spikes per neuron and timestep."""
        return self.spikes / (sum(self.neurons_by_layer.values()) * self.T) if self.T else 0.0

    def plot(self, title: str | None = None) -> np.ndarray:
        """The image with its boxes drawn, uint8 RGB."""
        from .draw.boxes import draw_detections

        return draw_detections(self.image, self.detections, self.names, title)


class SpikingYOLO:
    """A detector converted to a spiking network.

    weights: a darknet .weights file, a trained .safetensors, or a converted one. method: a registered name or a
    recipe.json; None is the default. settings: overrides of the recipe, e.g. {"neuron.gamma": 4}. cfg, names: files of a
    darknet network that do not lie beside its weights. imgsz: square input size. statistics: activation statistics that
    do not lie beside the weights. Raises UserError for everything that does not fit.
    """

    def __init__(
        self,
        weights: str | Path,
        method: str | Path | None = None,
        settings: Mapping[str, Any] | None = None,
        *,
        cfg: str | Path | None = None,
        names: str | Path | None = None,
        imgsz: int | None = None,
        statistics: str | Path | None = None,
        device: str = "cpu",
    ):
        self._use(load(weights, method, settings, cfg=cfg, names=names, imgsz=imgsz, statistics=statistics), device)

    @classmethod
    def of(cls, converted: Converted, device: str = "cpu") -> SpikingYOLO:
        """The detector of a network that is converted already."""
        detector = cls.__new__(cls)
        detector._use(converted, device)
        return detector

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> SpikingYOLO:
        """A network written by `save` or by tools/convert.py; it gives bit-identical output."""
        return cls.of(Converted.load(path), device)

    def save(self, path: str | Path) -> None:
        """Write the converted network to one .safetensors file."""
        self.converted.save(path)

    def _use(self, converted: Converted, device: str) -> None:
        if converted.spec.task != "detect":
            raise UserError("this network is a classifier, which finds no boxes: use tools/eval_classify.py")
        try:
            self.device = torch.device(device)
            self._graph = converted.graph.to(self.device)
            self._network = converted.network(self.device)
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"cannot use --device {device}: {str(error).splitlines()[0]}") from error
        self.converted = converted
        self.spec = converted.spec

    @property
    def names(self) -> tuple[str, ...]:
        return self.spec.names

    @property
    def layers(self) -> list[str]:
        """Names of the layers of neurons that have a place in the image, in order."""
        return list(self._network.layers)

    @property
    def method(self) -> str:
        return self.converted.recipe.name

    def detect(
        self,
        source: Source | Sequence[Source],
        T: int = 64,
        steps: Iterable[int] = (),
        *,
        conf: float = 0.25,
        iou: float = 0.45,
        max_det: int = 300,
        multi_label: bool = False,
        maps: bool = False,
        progress: Callable[[int], Any] | None = None,
    ) -> Any:
        """Simulate T timesteps and read the boxes off the head's accumulated potential.

        source: a path, PIL image or array (see images.read_image), or a list of them, which gives a list.
        steps: read the boxes at these timesteps too. multi_label: every class above `conf`, for evaluation, instead of
        the best per box. maps: keep spike maps. progress(t) is called after every timestep.
        """
        if isinstance(source, (list, tuple)):
            options: dict[str, Any] = dict(conf=conf, iou=iou, max_det=max_det, multi_label=multi_label, maps=maps)
            return [self.detect(one, T, steps, **options, progress=progress) for one in source]
        start = time.perf_counter()
        image, x, placement = self._prepare(source)  # type: ignore[arg-type]
        run = self._network.run(x, T, steps, maps=maps, progress=progress)
        found = {
            t: detections(
                [o.cpu() for o in s.outputs], self.spec, [placement], conf, iou, max_det, multi_label=multi_label
            )[0]
            for t, s in run.snapshots.items()
        }
        last = run.snapshots[T]
        return Result(
            image,
            _path(source),
            self.names,
            self.method,
            T,
            found[T],
            placement,
            time.perf_counter() - start,
            steps=found,
            settled=run.steps,
            spikes_by_layer={name: total.item() for name, total in last.spikes.items()},
            neurons_by_layer=run.neurons,
            operations=last.operations.item(),
            macs=run.macs,
            maps={t: {name: m[0].cpu() for name, m in s.maps.items()} for t, s in run.snapshots.items()}
            if maps
            else {},
        )

    @torch.no_grad()
    def detect_ann(
        self, source: Source, *, conf: float = 0.25, iou: float = 0.45, max_det: int = 300, multi_label: bool = False
    ) -> Result:
        """The same image through the original network: same preprocessing, decoding and suppression."""
        start = time.perf_counter()
        image, x, placement = self._prepare(source)
        heads = [o.cpu() for o in run_ann(self._graph, x)]
        found = detections(heads, self.spec, [placement], conf, iou, max_det, multi_label)[0]
        return Result(image, _path(source), self.names, "ann", 0, found, placement, time.perf_counter() - start)

    def _prepare(self, source: Source) -> tuple[np.ndarray, Tensor, Placement]:
        image = read_image(source)
        x, placement = fit(image, self.spec)
        return image, x[None].to(self.device), placement


def _path(source: Any) -> str | None:
    return str(source) if isinstance(source, (str, Path)) else None
