"""The detector that a person calls: images in, boxes at every timestep out."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.pipeline import load
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.yolo import detections
from spiking_yolo.errors import UserError
from spiking_yolo.graph import forward
from spiking_yolo.io.images import ImageSource, Placement, preprocess, read_image
from spiking_yolo.io.sizes import Size
from spiking_yolo.result import Result
from spiking_yolo.snn.options import Precision, chosen


@dataclass(frozen=True)
class NMSOptions:
    """Which boxes count.

    conf: confidence above this. iou: suppress boxes that overlap a better one of their class by more. max_det: at most
    so many. multi_label: every class above `conf`, for evaluation, instead of the best per box. classes: ids to keep.
    """

    conf: float = 0.25
    iou: float = 0.45
    max_det: int = 300
    multi_label: bool = False
    classes: Collection[int] | None = None


class SpikingYOLO:
    """A detector converted to a spiking network.

    weights: a darknet .weights file, a trained .safetensors, a converted one, or a .pt of Ultralytics. method: a
    registered name or a recipe.json; None is the default. settings: overrides of the recipe, e.g. {"neuron.gamma": 4}.
    cfg, names: files of a darknet network that do not lie beside its weights. imgsz: input size in pixels, the side of
    a square or (height, width). statistics: activation statistics that do not lie beside the weights. trust: open a
    .pt, which can run code hidden in it. precision: "bf16" multiplies spikes and weights in bfloat16. compile: fuse the
    neurons' arithmetic, see SimulationOptions.
    Raises UserError for everything that does not fit.
    """

    def __init__(
        self,
        weights: str | Path,
        method: str | Path | None = None,
        settings: Mapping[str, Any] | None = None,
        *,
        cfg: str | Path | None = None,
        names: str | Path | None = None,
        imgsz: int | Size | None = None,
        statistics: str | Path | None = None,
        trust: bool = False,
        device: str = "cpu",
        precision: Precision = "float32",
        compile: bool = False,
    ):
        files = {"cfg": cfg, "names": names, "statistics": statistics}
        self._use(load(weights, method, settings, imgsz=imgsz, trust=trust, **files), device, precision, compile)

    @classmethod
    def of(
        cls, converted: Converted, device: str = "cpu", precision: Precision = "float32", compile: bool = False
    ) -> SpikingYOLO:
        """The detector of a network that is converted already."""
        detector = cls.__new__(cls)
        detector._use(converted, device, precision, compile)
        return detector

    @classmethod
    def load(
        cls, path: str | Path, device: str = "cpu", precision: Precision = "float32", compile: bool = False
    ) -> SpikingYOLO:
        """A network written by `save` or by tools/convert.py; it gives bit-identical output."""
        return cls.of(Converted.load(path), device, precision, compile)

    def save(self, path: str | Path) -> None:
        """Write the converted network to one .safetensors file."""
        self.converted.save(path)

    def _use(self, converted: Converted, device: str, precision: Precision, compile: bool) -> None:
        if converted.spec.task != "detect":
            raise UserError("this network is a classifier, which finds no boxes: use tools/eval_classify.py")
        try:
            self.device = torch.device(device)
            torch.zeros(1, device=self.device).cpu()
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise UserError(f"cannot use the device {device} ({reason}): leave it out, or give cpu") from error
        self._graph = converted.graph.to(self.device)
        self._network = converted.network(self.device, simulation=chosen(precision, compile, self.device))
        self.converted = converted
        self.spec = converted.spec

    @property
    def names(self) -> tuple[str, ...]:
        return self.spec.names

    @property
    def layers(self) -> list[str]:
        """Names of the layers of neurons that have a place in the image, in order."""
        flat: set[str] = set()
        for node in self._network.graph.nodes:
            if node.op in ("flatten", "linear") or not flat.isdisjoint(node.inputs):
                flat.add(node.name)
        return [name for name in self._network.layers if name not in flat]

    @property
    def method(self) -> str:
        return self.converted.recipe.name

    def detect(
        self,
        source: ImageSource | Sequence[ImageSource],
        T: int = 64,
        steps: Iterable[int] = (),
        *,
        maps: bool = False,
        progress: Callable[[int], Any] | None = None,
        **choice: Any,
    ) -> Any:
        """Simulate T timesteps and read the boxes off the head's accumulated potential.

        source: a path, PIL image or array (see images.read_image), or a list of them, which gives a list of Results.
        steps: read the boxes at these timesteps too. maps: keep spike maps. progress(t) is called after every timestep.
        choice: see NMSOptions, e.g. conf=0.4.
        """
        steps = tuple(steps)
        if isinstance(source, (list, tuple)):
            return [self.detect(one, T, steps, maps=maps, progress=progress, **choice) for one in source]
        start = time.perf_counter()
        image, x, placement = self._prepare(source)  # type: ignore[arg-type]
        run = self._network.run(x, T, steps, maps=maps, progress=progress)
        found = {t: self._boxes(s.outputs, placement, NMSOptions(**choice)) for t, s in run.snapshots.items()}
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
            maps={t: {name: m[0].cpu() for name, m in s.maps.items()} for t, s in run.snapshots.items() if s.maps},
        )

    @torch.no_grad()
    def detect_ann(self, source: ImageSource, **choice: Any) -> Result:
        """The same image through the original network: same preprocessing, decoding and suppression."""
        start = time.perf_counter()
        image, x, placement = self._prepare(source)
        found = self._boxes(forward(self._graph, x), placement, NMSOptions(**choice))
        return Result(image, _path(source), self.names, "ann", 0, found, placement, time.perf_counter() - start)

    def _prepare(self, source: ImageSource) -> tuple[np.ndarray, Tensor, Placement]:
        image = read_image(source)
        x, placement = preprocess(image, self.spec)
        return image, x[None].to(self.device), placement

    def _boxes(self, outputs: Sequence[Tensor], placement: Placement, choice: NMSOptions) -> Detections:
        c = choice
        limit = c.max_det if c.classes is None else 10**6  # boxes of other classes must not use up max_det
        heads = [output.cpu() for output in outputs]
        found = detections(heads, self.spec, [placement], c.conf, c.iou, limit, c.multi_label)[0]
        if c.classes is None:
            return found
        kept = torch.isin(found.class_id, torch.tensor(sorted(c.classes))).nonzero().flatten()[: c.max_det]
        return Detections(found.xyxy[kept], found.confidence[kept], found.class_id[kept])


def _path(source: Any) -> str | None:
    return str(source) if isinstance(source, (str, Path)) else None
