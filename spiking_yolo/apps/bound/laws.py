"""The laws of a network's activations: some values of every channel, and what they are worth."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.convert.differentiable import CompleteNetwork, Values, fire
from spiking_yolo.convert.sensitivity import (
    FLOOR,
    Measure,
    relative_outputs,
    sensitivity,
)
from spiking_yolo.convert.thresholds import PARTS
from spiking_yolo.graph import OPS, Activation, Node, forward
from spiking_yolo.graph.rewrites import product_sources
from spiking_yolo.metrics.rate_distortion import Allocation, Sender, Site
from spiking_yolo.snn.counting import count_digits
from spiking_yolo.snn.layout import channels_last

# Positions of a feature map that are drawn, at least, and values of all of its channels.
ROWS, VALUES = 512, 1 << 16


@dataclass(frozen=True)
class Laws:
    """What codes of the activations are judged by.

    Attributes:
        sites: By activation.
        currents: Activation -> its senders with what enters their activation function in place of
            their values.
        phis: Node that sends events -> that function.
        relative: Activation -> sensitivity of the relative error of the outputs, [C].
        products: Activations that are factors of products, which must have 0 at rest.
    """

    sites: dict[str, Site]
    currents: dict[str, list[Sender]]
    phis: dict[str, Activation]
    relative: dict[str, Tensor]
    products: set[str]

    def converted(self, network: CompleteNetwork, neurons: Values) -> dict[str, Allocation]:
        """What the neurons of a converted network make of the values."""
        result = {}
        for name, site in self.sites.items():
            own = neurons[name]
            theta = own["theta"].expand_as(site.sensitivity)
            rest = own.get("rest", torch.zeros(1)).expand_as(theta)
            operations = torch.zeros_like(theta)
            errors = []
            for key, current, sender in zip(
                network.senders(name), self.currents[name], site.senders, strict=True
            ):
                free = torch.zeros(1, 1)
                received, _ = fire(current.values, own, self.phis[key], free, network.slack)
                n = (received / theta - rest).round()
                operations += (count_digits(n) * sender.cost).mean(0)
                errors.append(sender.values - received)
            distortion = errors[0].square().mean(0)
            mean = errors[0].mean(0)
            result[name] = Allocation(theta, rest * theta, distortion, operations, mean)
        return result

    def neurons(self, allocations: Mapping[str, Allocation]) -> dict[str, dict[str, Tensor]]:
        """Allocations as parameters of neurons."""
        result = {}
        for name, one in allocations.items():
            rest = (one.rest / one.theta * PARTS).round() / PARTS
            result[name] = {"theta": one.theta, "initial": torch.tensor(0.5), "rest": rest}
            if name in self.products:
                del result[name]["rest"]
        return result

    def totals(self, allocations: Mapping[str, Allocation]) -> tuple[float, float, float]:
        """Operations per MAC, squared error of the output, and its relative error, as predicted."""
        operations = squared = relative = 0.0
        for name, one in allocations.items():
            operations += one.operations.sum().item()
            squared += (self.sites[name].sensitivity * one.distortion).sum().item()
            relative += (self.relative[name] * one.distortion).sum().item()
        return operations, squared, math.sqrt(relative)


@torch.no_grad()
def take_laws(
    network: CompleteNetwork,
    measure: Measure,
    images: Sequence[Tensor],
    seed: int,
    progress: Callable[..., Any],
) -> Laws:
    """Draw positions of every map that sends events, at random, and measure sensitivities.

    Args:
        measure: Of the outputs, see `sensitivity`.
        images: Batches, [N, C, H, W].
    """
    generator = torch.Generator().manual_seed(seed)
    count = sum(len(x) for x in images)
    phis: dict[str, Activation] = {}
    positions: dict[str, int] = {}
    samples: dict[str, list[Sender]] = {}

    def tap(node: Node, before: Tensor, after: Tensor) -> None:
        rows = max(ROWS, VALUES // before.shape[1]) * len(before) // count + 1
        for key in network.senders(node.name):
            # The axis of a softmax would be cut, and only monotone functions can follow a pooling.
            cut = node.phi.softmax or not (key == node.name or node.phi.monotone)
            phis[key] = Activation(slope=1.0) if cut else node.phi.continuous
            maps = after if cut else before
            if key != node.name:
                maps = OPS["max_pool"](network.graph[key].attrs, None, None, maps)
            positions[key] = maps[0, 0].numel()
            sample = draw_positions(maps, network.costs[key], rows, generator)
            samples.setdefault(key, []).append(sample)

    for k, x in enumerate(images):
        progress("values", k + 1, len(images))
        forward(network.graph, channels_last(x), tap)
    progress("sensitivity", 1, None)
    errors = sensitivity(network.graph, images, seed, measure)
    relative = errors
    if measure is not relative_outputs:
        progress("sensitivity", 2, None)
        relative = sensitivity(network.graph, images, seed)
    laws = Laws({}, {}, phis, {}, product_sources(network.graph))
    for name, own in errors.items():
        currents = [joined(samples[key]) for key in network.senders(name)]
        senders = []
        for key, current in zip(network.senders(name), currents, strict=True):
            near = phis[key](current.neighbours)
            senders.append(Sender(phis[key](current.values), current.cost, near))
        own = own.clamp(min=FLOOR * own.mean().item())
        laws.sites[name] = Site(own * positions[name], senders)
        laws.currents[name] = currents
        laws.relative[name] = relative[name] * positions[name]
    return laws


def draw_positions(maps: Tensor, cost: Tensor, rows: int, generator: torch.Generator) -> Sender:
    """The values at some positions of maps [N, C, ...], and around them.

    cost: Operations per MAC of an event at each position, [1, C or 1, ...].
    """
    while maps.ndim < 4:
        maps = maps[..., None]
        cost = cost[..., None]
    n, _, height, width = maps.shape
    chosen = torch.randperm(n * height * width, generator=generator)[:rows]
    image = chosen // (height * width)
    y = chosen // width % height
    x = chosen % width
    framed = F.pad(maps, (1, 0, 1, 0), value=math.nan)
    around = [framed[image, :, y + 1, x], framed[image, :, y, x + 1], framed[image, :, y, x]]
    costs = cost.expand(1, -1, height, width)[0, :, y, x].T * (height * width)
    return Sender(maps[image, :, y, x], costs, torch.stack(around))


def joined(parts: Sequence[Sender]) -> Sender:
    """One sample of several."""
    values = torch.cat([part.values for part in parts])
    cost = torch.cat([part.cost for part in parts])
    return Sender(values, cost, torch.cat([part.neighbours for part in parts], 1))
