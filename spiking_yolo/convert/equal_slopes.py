"""Thresholds and zero points that need the fewest digits for an error of the output.

A channel of an activation sends each value x as n, a sum of signed powers of two, and its receivers
see s + n theta, where s is the zero point. With w(n) the digits of n's non-adjacent form
(Reitwiesner 1960), a channel costs

    D = E[(x - s - n theta)^2]    a value's distortion,
    R = E[c w(n)]                 operations per MAC, c those of an event at each of its positions,

over its measured values. In first order, and if errors do not depend on each other, the squared
error of the output is the sum of S D over layers and channels; S is the sensitivity
(convert/sensitivity.py) times the positions. The least R at a given error is found as in reverse
water-filling (Cover and Thomas, section 10.3.3), with digits in place of bits: every channel by
itself minimises J = S D + price R, with one price for all, so that all slopes dR / d(S D) are
-1 / price. Lengths count in units of sqrt(price c / S), the scale of a channel.
docs/results/bound.md derives it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.convert.differentiable import CompleteNetwork
from spiking_yolo.convert.sensitivity import FLOOR, boxes_and_scores, relative_outputs, sensitivity
from spiking_yolo.convert.thresholds import PARTS, NeuronParameters
from spiking_yolo.errors import UserError
from spiking_yolo.graph import OPS, Activation, Graph, Node, forward
from spiking_yolo.graph.rewrites import product_sources
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.counting import count_digits, thrifty_round
from spiking_yolo.snn.layout import channels_last

# Positions of a feature map that are drawn, at least, and values of all of its channels.
ROWS, VALUES = 512, 1 << 16
# Thetas to try, in scales.
STEPS = tuple(2 ** (k / 3) for k in range(-1, 6))
# Candidates for the zero point: quantiles of a channel, besides 0.
QUANTILES = tuple(k / 10 for k in range(1, 9))
# Scales that a channel's values spread over, at most: 12 bits per value.
FINEST = 1 << 12
# From price to price, and the smallest that is tried.
RATIO, SMALLEST = 2.5, 1e-12


@dataclass(frozen=True)
class Sender:
    """Some values of a feature map that travels as events.

    Attributes:
        values: At R positions of some images, [R, C].
        cost: Operations per MAC of an event there, times the number of positions, so that the mean
            over rows is the sum over an image; [R, C or 1].
    """

    values: Tensor
    cost: Tensor


@dataclass(frozen=True)
class Site:
    """An activation whose channels are to be coded.

    Attributes:
        sensitivity: Squared error of the output by unit noise at all positions of a channel, [C].
        senders: The activation itself, and the max poolings behind it that send events of their
            own: the maximum of what was rounded is the maximum rounded.
    """

    sensitivity: Tensor
    senders: Sequence[Sender]

    @property
    def values(self) -> Tensor:
        """Those of the activation, [R, C]."""
        return self.senders[0].values

    def scale(self, price: float) -> Tensor:
        """sqrt(price c / S), [C]: the size of an error that is worth an event."""
        cost = torch.zeros_like(self.sensitivity)
        for sender in self.senders:
            cost += sender.cost.mean(0)
        largest = self.values.abs().amax(0).clamp(min=1e-12)
        spread = self.values.amax(0) - self.values.amin(0)
        scale = torch.sqrt(price * cost / self.sensitivity.clamp(min=1e-30))
        return scale.maximum(spread / FINEST).clamp(min=1e-12).minimum(4 * largest)


@dataclass(frozen=True)
class Allocation:
    """How the channels of a site are coded, [C] each.

    Attributes:
        theta, rest: A receiver sees rest + n theta.
        distortion: Mean square error of a value.
        operations: Per MAC of the ANN, those of one image.
        error: Mean of what a value is more than a receiver sees.
    """

    theta: Tensor
    rest: Tensor
    distortion: Tensor
    operations: Tensor
    error: Tensor


def evaluate(site: Site, slack: float, theta: Tensor, rest: Tensor) -> Allocation:
    """What it costs to send the values of a site, and their distortion. theta, rest: [C]."""
    operations = torch.zeros_like(theta)
    for sender in site.senders:
        n = thrifty_round((sender.values - rest) / theta, slack)
        operations += (count_digits(n) * sender.cost).mean(0)
    x = (site.values - rest) / theta
    error = (x - thrifty_round(x, slack)) * theta
    return Allocation(theta, rest, error.square().mean(0), operations, error.mean(0))


def allocate(site: Site, price: float, slack: float, rests: Sequence[float]) -> Allocation:
    """Theta and zero point of every channel, for the least S D + price R.

    Zero points are tried with a typical theta, then thetas with the best of them, which moves to
    where errors have the mean 0: there the derivative of J by it, -2 S E[x - s - n theta], is 0.

    Args:
        price: Squared error of the output that an operation per MAC is worth.
        slack: neuron.slack, by how much rounding leans to fewer digits.
        rests: Zero points to try, as quantiles of the channel, besides 0; nothing else if empty.
    """
    scale = site.scale(price)
    typical = STEPS[len(STEPS) // 2]
    best = evaluate(site, slack, typical * scale, torch.zeros_like(scale))
    if rests:
        for rest in torch.quantile(site.values[:4096], torch.tensor(rests).to(site.values), 0):
            trial = evaluate(site, slack, typical * scale, rest)
            best = better(site, price, best, trial)
    rest = best.rest
    for step in STEPS:
        trial = evaluate(site, slack, step * scale, rest)
        best = better(site, price, best, trial)
        if rests:
            trial = evaluate(site, slack, step * scale, trial.rest + trial.error)
            best = better(site, price, best, trial)
    return best


def better(site: Site, price: float, a: Allocation, b: Allocation) -> Allocation:
    """Of each channel the one of the smaller S D + price R."""
    of_a = site.sensitivity * a.distortion + price * a.operations
    of_b = site.sensitivity * b.distortion + price * b.operations
    chosen = of_b < of_a
    fields = ("theta", "rest", "distortion", "operations", "error")
    return Allocation(*(torch.where(chosen, getattr(b, f), getattr(a, f)) for f in fields))


@torch.no_grad()
def equal_slopes(
    graph: Graph,
    spec: Spec,
    recipe: Recipe,
    images: Sequence[Tensor],
    operations: float,
    seed: int,
    progress: Callable[..., Any],
) -> NeuronParameters:
    """Parameters of neurons with equal slopes that take so many operations per MAC, as predicted.

    Args:
        images: Batches, [N, C, H, W]; values and sensitivities are taken from them.

    Raises:
        UserError: The network cannot take so many.
    """
    neuron = recipe.neuron
    network = CompleteNetwork(graph, (spec.height, spec.width), neuron.slack)
    sites = take_sites(network, spec, images, seed, progress)
    fixed = product_sources(graph)

    def allocated(price: float) -> dict[str, Allocation]:
        progress("equal slopes", 1, None)
        return {
            name: allocate(site, price, neuron.slack, () if name in fixed else QUANTILES)
            for name, site in sites.items()
        }

    return parameters(allocated(price_of(allocated, operations)), fixed)


def price_of(allocated: Callable[[float], Mapping[str, Allocation]], operations: float) -> float:
    """The price at which the allocations take these operations per MAC, interpolated.

    Raises:
        UserError: They take fewer at any price.
    """

    def spent(price: float) -> float:
        return sum(one.operations.sum().item() for one in allocated(price).values())

    price = 1.0
    while spent(price) > operations:
        price *= RATIO
    while spent(price) < operations:
        price /= RATIO
        if price < SMALLEST:
            raise UserError(
                f"thresholds as fine as can be take fewer than {operations:g} operations per MAC:"
                " give smaller calibration.operations"
            )
    prices = [price]
    while spent(prices[-1]) > operations:
        prices.append(prices[-1] * RATIO)
    pairs = sorted((spent(price), price) for price in prices)
    known, logs = np.log(np.array(pairs)).T
    return float(np.exp(np.interp(math.log(operations), known, logs)))


def parameters(allocations: Mapping[str, Allocation], fixed: set[str]) -> NeuronParameters:
    """Allocations as parameters of neurons. fixed: those whose zero point is 0."""
    result: dict[str, dict[str, Tensor]] = {}
    for name, one in allocations.items():
        result[name] = {"theta": one.theta, "initial": torch.tensor(0.5)}
        if name not in fixed:
            result[name]["rest"] = (one.rest / one.theta * PARTS).round() / PARTS
    return result


def take_sites(
    network: CompleteNetwork,
    spec: Spec,
    images: Sequence[Tensor],
    seed: int,
    progress: Callable[..., Any],
) -> dict[str, Site]:
    """Draw positions of every map that sends events, at random, and measure sensitivities."""
    generator = torch.Generator().manual_seed(seed)
    count = sum(len(x) for x in images)
    positions: dict[str, int] = {}
    samples: dict[str, list[Sender]] = {}

    def tap(node: Node, before: Tensor, after: Tensor) -> None:
        rows = max(ROWS, VALUES // before.shape[1]) * len(before) // count + 1
        for key in network.senders(node.name):
            # The axis of a softmax would be cut, and only monotone functions can follow a pooling.
            cut = node.phi.softmax or not (key == node.name or node.phi.monotone)
            maps = after if cut else before
            if key != node.name:
                maps = OPS["max_pool"](network.graph[key].attrs, None, None, maps)
            positions[key] = maps[0, 0].numel()
            values, cost = draw_positions(maps, network.costs[key], rows, generator)
            phi = Activation(slope=1.0) if cut else node.phi.continuous
            samples.setdefault(key, []).append(Sender(phi(values), cost))

    for k, x in enumerate(images):
        progress("values", k + 1, len(images))
        forward(network.graph, channels_last(x), tap)
    progress("sensitivity", 1, None)
    measure = relative_outputs
    if spec.task == "detect":
        measure = partial(boxes_and_scores, spec=spec)
    sites: dict[str, Site] = {}
    for name, own in sensitivity(network.graph, images, seed, measure).items():
        own = own.clamp(min=FLOOR * own.mean().item())
        senders = [joined(samples[key]) for key in network.senders(name)]
        sites[name] = Site(own * positions[name], senders)
    return sites


def draw_positions(
    maps: Tensor, cost: Tensor, rows: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The values at some positions of maps [N, C, ...], and their costs, see Sender.

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
    costs = cost.expand(1, -1, height, width)[0, :, y, x].T * (height * width)
    return maps[image, :, y, x], costs


def joined(parts: Sequence[Sender]) -> Sender:
    """One sample of several."""
    values = torch.cat([part.values for part in parts])
    return Sender(values, torch.cat([part.cost for part in parts]))
