"""From which spike rate down a convolution that visits single events beats the dense one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.snn.blocks import channels_last
from spiking_yolo.snn.synapses import Convolution
from spiking_yolo.studies.benchmark.timing import interleaved

LAYERS = {  # input and output channels, pixels, kernel: of Tiny-YOLOv3
    "64 -> 128, 52 px": (64, 128, 52, 3),
    "384 -> 256, 26 px": (384, 256, 26, 3),
    "512 -> 1024, 13 px": (512, 1024, 13, 3),
}
RATES = (0.001, 0.003, 0.01, 0.03, 0.1)


def event_convolution(x: Tensor, taps: Tensor) -> Tensor:
    """The convolution of one image, stride 1, padding k // 2, as a sum over the events in it.

    x: [1, C, H, W]. taps: the weights as [k, k, C, O]. Returns [1, O, H, W], channels last.
    """
    k, _, channels, outputs = taps.shape
    _, _, height, width = x.shape
    values = x[0].permute(1, 2, 0).reshape(-1, channels)
    where, channel = values.nonzero(as_tuple=True)
    value, row, column = values[where, channel][:, None], where // width, where % width
    wide, high, margin = width + k - 1, height + k - 1, k // 2
    out = x.new_zeros(high * wide, outputs)
    for i in range(k):
        for j in range(k):
            reached = (row + k - 1 - i) * wide + column + k - 1 - j
            out.index_add_(0, reached, taps[i, j].index_select(0, channel).mul_(value))
    inside = out.view(high, wide, outputs)[margin : margin + height, margin : margin + width]
    return inside.permute(2, 0, 1)[None]


def event_curves(device: torch.device, repeats: int, seed: int = 0) -> dict[str, Any]:
    """Layer -> {"dense_ms", "event_ms": {rate: ms}}, for random spikes at each rate, medians."""
    found: dict[str, Any] = {}
    generator = torch.Generator().manual_seed(seed)
    for name, (inputs, outputs, size, k) in LAYERS.items():
        weight = torch.randn(outputs, inputs, k, k, generator=generator).to(device)
        taps = weight.permute(2, 3, 1, 0).contiguous()
        sizes = {"stride": [1, 1], "padding": [k // 2] * 2, "dilation": [1, 1], "groups": 1}
        dense = Convolution(weight, None, sizes)
        chance = torch.rand(1, inputs, size, size, generator=generator).to(device)
        spikes = {rate: channels_last((chance < rate).float()) for rate in RATES}
        cases = {str(rate): _once(event_convolution, x, taps) for rate, x in spikes.items()}
        cases["dense"] = _once(dense, spikes[RATES[0]], False)
        times = interleaved(cases, lambda: None, repeats, device)
        found[name] = {
            "dense_ms": 1e3 * times.pop("dense").run,
            "event_ms": {rate: 1e3 * timing.run for rate, timing in times.items()},
        }
    return found


def _once(f: Callable[..., Any], *args: Any) -> Callable[[], int]:
    def call() -> int:
        f(*args)
        return 1

    return call
