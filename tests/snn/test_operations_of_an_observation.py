"""Synaptic operations of an observation against counting every event at every output it reaches, one at a
time.
"""

from itertools import product

import torch
from helpers.networks import images, make, spiking
from torch import Tensor, nn

from spiking_yolo.observe import Input, Observer
from spiking_yolo.recipe import Recipe

T = 5


class Mixed(nn.Module):
    """Padding, max pooling, a strided convolution, upsampling and concatenation. [N, 3, 8, 8]."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.up = nn.Upsample(scale_factor=2)
        self.conv3 = nn.Conv2d(10, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        deep = torch.relu(self.conv2(pooled))
        return self.conv3(torch.cat([self.up(deep), pooled], 1))


def reached(events: Tensor, outputs: int, size: int, stride: int) -> float:
    """events: [C, H, W] at a 3x3 convolution with padding 1 and `size` x `size` outputs per
    channel.
    """
    total = 0.0
    for oy, ox, ky, kx in product(range(size), range(size), range(3), range(3)):
        y, x = oy * stride + ky - 1, ox * stride + kx - 1
        if 0 <= y < events.shape[1] and 0 <= x < events.shape[2]:
            total += outputs * events[:, y, x].sum().item()
    return total


def test_operations_of_an_observation():
    x = images(2)
    converted = spiking(make(Mixed), x, Recipe("if"), {"neuron.gamma": 2, "threshold.scale": 0.3})
    spikes: dict[str, list[Tensor]] = {}

    def probe(name, t, layer, current):
        spikes.setdefault(name, []).append(layer.out.clone())

    converted.network(observed=True).run(x, T, probes=[probe])
    first, second = (torch.stack(steps) for steps in spikes.values())
    pooled = torch.stack([torch.max_pool2d(s, 2) for s in first.cumsum(0)])
    pooled = torch.cat([pooled[:1], pooled.diff(dim=0)]).abs().sum(0)
    deep = second.sum(0)
    observer = Observer(converted.network(), converted.graph, converted.spec)
    inputs = [Input(image) for image in x]
    for k, seen in enumerate(observer.observe(inputs, T, want=(), batch=2)):
        up = deep[k].repeat_interleave(2, 1).repeat_interleave(2, 2)
        expected = reached(pooled[k], 6, 2, stride=2) + reached(
            torch.cat([up, pooled[k]]), 5, 4, stride=1
        )
        assert expected > 1000
        assert seen.last.operations["spikes"] == expected
        assert seen.last.total_spikes == (first[:, k].sum() + deep[k].sum()).item()
        assert seen.neurons == seen.activations == 4 * 64 + 6 * 4
        assert seen.macs == 3 * 4 * 22**2 + 4 * 6 * 5**2 + 10 * 5 * 10**2
        assert seen.analogue_macs == 3 * 4 * 22**2
