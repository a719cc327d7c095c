"""What the detector hands back for one image."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from spiking_yolo.decode.boxes import Detections
from spiking_yolo.io.images import Placement


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
        from spiking_yolo.draw.boxes import draw_detections

        return draw_detections(self.image, self.detections, self.names, title)

    def shrunk(self, side: int) -> Result:
        """The same on a copy of the image whose longer side has at most `side` pixels."""
        height, width = self.image.shape[:2]
        scale = side / max(height, width)
        if scale >= 1:
            return self
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = np.asarray(Image.fromarray(self.image).resize(size, Image.Resampling.BOX))
        ratio = self.xyxy.new_tensor([size[0] / width, size[1] / height] * 2)
        return replace(
            self,
            image=small,
            placement=replace(self.placement, image=size),
            detections=replace(self.detections, xyxy=self.xyxy * ratio),
            steps={t: replace(d, xyxy=d.xyxy * ratio) for t, d in self.steps.items()},
        )
