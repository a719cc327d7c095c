"""Thresholds by sensitivity: coarse where an error matters little to the output, and where an event is expensive."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from spiking_yolo.convert.complete import CompleteNetwork, Values
from spiking_yolo.convert.thresholds import scaled
from spiking_yolo.graph import Graph, Node, forward
from spiking_yolo.snn.backend.layout import channels_last

PROBES = 2  # per image
FLOOR = 1e-3  # of the layer's mean, below which a channel's sensitivity is not believed
TRIES = 12  # to meet the operations that were asked for, within TOLERANCE
MOST = 64.0  # by which thetas change for that: some networks cannot take so many operations, or so few
TOLERANCE = 0.005


@torch.enable_grad()
def sensitivity(graph: Graph, images: Sequence[Tensor], seed: int = 0) -> dict[str, Tensor]:
    """S[l, c] = E[(d (v . heads / |heads|) / d a[l, c])^2] of every activation, [C]: what unit noise there does.

    v is standard normal, so one backward pass measures all outputs at once (Hutchinson 1990); the mean is over images,
    positions and PROBES draws of v. images: batches, [N, C, H, W]. Equal for equal seeds.
    """
    generator = torch.Generator().manual_seed(seed)
    sums: dict[str, Tensor] = {}
    taps: dict[str, Tensor] = {}

    def tap(node: Node, before: Tensor, after: Tensor) -> None:
        taps[node.name] = after.requires_grad_()

    for x in images:
        outputs = forward(graph, channels_last(x), tap)
        norm = torch.stack([y.detach().square().flatten(1).sum(1) for y in outputs]).sum(0)
        for k in range(PROBES):
            noise = [torch.randn(y.shape, generator=generator).to(y) for y in outputs]
            seen = sum((y * v).flatten(1).sum(1) for y, v in zip(outputs, noise, strict=True)) / torch.sqrt(norm)
            gradients = torch.autograd.grad(seen.sum(), list(taps.values()), retain_graph=k < PROBES - 1)
            for name, gradient in zip(taps, gradients, strict=True):
                mean = gradient.double().square().transpose(0, 1).flatten(1).sum(1) / gradient[0, 0].numel()
                sums[name] = sums.get(name, 0) + mean
    total = PROBES * sum(len(x) for x in images)
    return {name: (value / total).float() for name, value in sums.items()}


def balanced(network: CompleteNetwork, sensitive: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """theta of every activation, [C], but for a common factor.

    Rounding makes noise of theta^2 / 12, which S turns into error of the output, and halving theta costs a third of a
    digit times the fan-out F. Where the sum of both is least, S theta^2 is proportional to F: so it is between layers.
    Between the channels of a layer half of the exponent does as well, and trusts an estimate less.
    """
    costs = {name: torch.stack([network.costs[s].mean() for s in network.senders(name)]).sum() for name in sensitive}
    least = min((cost for cost in costs.values() if cost > 0), default=torch.tensor(1.0))
    thetas = {}
    for name, own in sensitive.items():
        cost = costs[name].clamp(min=least)  # those that only sums and outputs read would cost nothing
        mean = own.mean().clamp(min=1e-30)
        thetas[name] = torch.sqrt(cost / mean) * (own / mean).clamp(min=FLOOR) ** -0.25
    return thetas


@torch.no_grad()
def scaled_to(
    operations: float, network: CompleteNetwork, values: Values, images: Sequence[Tensor]
) -> dict[str, dict[str, Tensor]]:
    """The values with all thetas times one factor, with which the network takes so many operations per MAC on images.

    Halving theta costs about half as much again, so that a few corrections find it.
    """
    factor, low, high = 1.0, 1 / MOST, MOST
    for _ in range(TRIES):
        tried = times(factor, network, values)
        spent = torch.cat([network(x, tried)[1] for x in images]).mean().item()
        if abs(spent / operations - 1) < TOLERANCE:
            break
        low, high = (factor, high) if spent > operations else (low, factor)
        factor *= (spent / operations) ** 1.5
        factor = factor if low < factor < high else math.sqrt(low * high)
    return times(factor, network, values)


def times(factor: float, network: CompleteNetwork, values: Values) -> dict[str, dict[str, Tensor]]:
    """The values with all thetas times a factor, within what the network allows."""
    sites, least, graph = network.sites, network.least, network.graph
    return {
        n: scaled(own, factor, graph[n].phi.cap, least.get(n)) if n in sites else dict(own) for n, own in values.items()
    }
