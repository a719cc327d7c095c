"""Thresholds by sensitivity: coarse where an error matters little to the output, and where an event
is expensive; all of them by one factor, so that the network takes the operations asked for.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from spiking_yolo.convert.differentiable import CompleteNetwork, Values
from spiking_yolo.convert.thresholds import scaled
from spiking_yolo.data.datasets import spread
from spiking_yolo.decode.boxes import decode
from spiking_yolo.graph import Graph, Node, forward
from spiking_yolo.models.spec import Spec
from spiking_yolo.snn.layout import channels_last

# Random directions per image, along which sensitivities are measured.
PROBES = 2
# Of the layer's mean, below which a channel's sensitivity is not believed.
FLOOR = 1e-3
# Smallest probability that is told from 0, and smallest side of a box, of the input.
LEAST = 1e-6
SMALLEST_SIDE = 0.01
# Weight of a box that is displaced by its own size, where a score that is off by one standard
# deviation has 1.
BOXES = 4.0
# Images on which sensitivities and operations are measured, and errors compared, at most.
FEW = 32
# And on which a factor is searched at first.
FIRST = 4
# The operations that were asked for are met within TOLERANCE, in at most so many corrections, by a
# factor on all thetas of at most MAX_FACTOR: some networks cannot take so many operations or so
# few.
TRIES = 12
MAX_FACTOR = 64.0
TOLERANCE = 0.005
FLATTEST = -0.1
# Factor on the operations of networks in which so large a share of the layers is depthwise: each of
# their outputs has few inputs, whose errors do not average.
DEPTHWISE, SHARE = 2.0, 0.25
# Layers with weights, and the factor on the operations of networks that have more of them: errors
# add up.
DEEP = ((80, 1.55), (40, 1.35))


# From the outputs, [N, ...] each, to what an error is measured in.
Measure = Callable[[Sequence[Tensor]], list[Tensor]]


def relative_outputs(outputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of each image over their norm, which passes no gradients on."""
    squares: list[Tensor] = []
    for y in outputs:
        squares.append(y.detach().square().flatten(1).sum(1))
    norm = torch.sqrt(torch.stack(squares).sum(0))
    return [y / norm.reshape(-1, *[1] * (y.ndim - 1)) for y in outputs]


def boxes_and_scores(outputs: Sequence[Tensor], spec: Spec) -> list[Tensor]:
    """What the outputs of a detector mean, each part in a unit of its own.

    A score p in standard deviations, sqrt(p (1 - p)): half the square of a change is then the
    Kullback-Leibler divergence. The sides of a box in widths and heights of it, times the root of
    its best score and BOXES. The units pass no gradients on.
    """
    boxes, scores = decode(outputs, spec)
    p = scores.detach().clamp(LEAST, 1 - LEAST)
    sides = (boxes[..., 2:] - boxes[..., :2]).detach().clamp(min=SMALLEST_SIDE)
    weight = BOXES * p.amax(2, keepdim=True).sqrt()
    return [scores / torch.sqrt(p * (1 - p)), boxes * weight / sides.repeat(1, 1, 2)]


@torch.enable_grad()
def sensitivity(
    graph: Graph, images: Sequence[Tensor], seed: int = 0, measure: Measure = relative_outputs
) -> dict[str, Tensor]:
    """How much unit noise in each activation changes the output, [C] by activation.

    S[l, c] = E[(d (v . measure(outputs)) / d a[l, c])^2]. v is standard normal, so that one
    backward pass measures all outputs at once (Hutchinson 1990); the mean is over images, positions
    and PROBES samples of v. Equal for equal seeds.

    Args:
        images: Batches, [N, C, H, W].
        measure: `relative_outputs`, or of a detector `boxes_and_scores`.
    """
    generator = torch.Generator().manual_seed(seed)
    sums: dict[str, Tensor] = {}
    activations: dict[str, Tensor] = {}

    def tap(node: Node, before: Tensor, after: Tensor) -> None:
        activations[node.name] = after.requires_grad_()

    for x in images:
        parts = measure(forward(graph, channels_last(x), tap))
        for k in range(PROBES):
            products: list[Tensor] = []
            for y in parts:
                noise = torch.randn(y.shape, generator=generator).to(y)
                products.append((y * noise).sum())
            gradients = torch.autograd.grad(
                torch.stack(products).sum(), list(activations.values()), retain_graph=k < PROBES - 1
            )
            for name, gradient in zip(activations, gradients, strict=True):
                # Of a box whose exponential overflows, nothing is known.
                gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
                total = gradient.double().square().transpose(0, 1).flatten(1).sum(1)
                sums[name] = sums.get(name, 0) + total / gradient[0, 0].numel()
    count = PROBES * sum(map(len, images))
    return {name: (value / count).float() for name, value in sums.items()}


def balanced(network: CompleteNetwork, sensitivities: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """theta of every activation, [C], up to a common factor.

    Rounding makes noise of theta^2 / 12, which S turns into error of the output, and halving theta
    costs a third of a digit times the fan-out F. The sum of both is least where S theta^2 is
    proportional to F: so it is between layers. Between the channels of a layer half of the exponent
    does as well, and trusts an estimate less.
    """
    costs = {}
    for name in sensitivities:
        means = [network.costs[sender].mean() for sender in network.senders(name)]
        costs[name] = torch.stack(means).sum()
    # Events that only sums and outputs read would cost nothing.
    least = min((cost for cost in costs.values() if cost > 0), default=torch.tensor(1.0))
    thetas = {}
    for name, sensitivities_of_layer in sensitivities.items():
        cost = costs[name].clamp(min=least)
        mean = sensitivities_of_layer.mean().clamp(min=1e-30)
        relative = (sensitivities_of_layer / mean).clamp(min=FLOOR)
        thetas[name] = torch.sqrt(cost / mean) * relative**-0.25
    return thetas


def budget(graph: Graph, operations: float) -> float:
    """The operations per MAC to aim at: as asked for, times DEPTHWISE or a factor of DEEP."""
    layers = len(graph.weighted)
    depthwise = 0
    for node in graph.weighted:
        weight = graph.tensors[f"{node.name}.weight"]
        depthwise += node.attrs.get("groups", 1) > 1 and weight.shape[1] == 1
    if depthwise >= SHARE * layers:
        return operations * DEPTHWISE
    for least, factor in DEEP:
        if layers > least:
            return operations * factor
    return operations


@torch.no_grad()
def scaled_to(
    operations: float, network: CompleteNetwork, values: Values, images: Sequence[Tensor]
) -> dict[str, dict[str, Tensor]]:
    """The values with all thetas times one factor, for which the network takes these operations.

    Args:
        operations: Per MAC of the ANN, the mean over the images.
    """
    factor = 0.0
    # What a few images take is near to what all do.
    for some in (spread(images, max(1, FIRST // len(images[0]))), images):
        factor = _factor(operations, network, values, some, factor)
    return times(math.exp(factor), network, values)


def _factor(
    operations: float,
    network: CompleteNetwork,
    values: Values,
    images: Sequence[Tensor],
    factor: float,
) -> float:
    """The logarithm of the factor, searched from one on by the secant method in logarithms; halving
    theta costs about half as much again.
    """
    low, high = -math.log(MAX_FACTOR), math.log(MAX_FACTOR)
    # Log operations by log factor.
    slope = -2 / 3
    last: tuple[float, float] | None = None
    for _ in range(TRIES):
        trial = times(math.exp(factor), network, values)
        spent = torch.cat([network(x, trial)[1] for x in images]).mean().item()
        excess = math.log(max(spent, LEAST) / operations)
        if abs(excess) < TOLERANCE:
            break
        if excess > 0:
            low = factor
        else:
            high = factor
        if last is not None:
            slope = (excess - last[1]) / (factor - last[0])
            # The least thetas that are allowed, or the largest, hold the operations where they are.
            if slope > FLATTEST:
                break
        last = (factor, excess)
        factor -= excess / slope
        if not low < factor < high:
            factor = (low + high) / 2
    return factor


def times(factor: float, network: CompleteNetwork, values: Values) -> dict[str, dict[str, Tensor]]:
    """The values with all thetas times a factor, within what the network allows."""
    result = {}
    for name, parameters in values.items():
        result[name] = dict(parameters)
        if name in network.sites:
            cap = network.graph[name].phi.cap
            result[name] = scaled(parameters, factor, cap, network.least.get(name))
    return result


def few_of(images: Sequence[Tensor]) -> Sequence[Tensor]:
    """Some of the batches, at equal distances."""
    return spread(images, max(1, FEW // len(images[0])))
