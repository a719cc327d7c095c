"""Thresholds by sensitivity: coarse where an error matters little to the output, and where an event
is expensive.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from spiking_yolo.convert.differentiable import CompleteNetwork, Values
from spiking_yolo.convert.output_error import Job
from spiking_yolo.convert.thresholds import NeuronParameters, scaled
from spiking_yolo.decode.heads import decode
from spiking_yolo.graph import Graph, Node, forward
from spiking_yolo.models.heads import HEADS
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import Calibration
from spiking_yolo.snn.layout import channels_last

PROBES = 2  # per image
# Of the layer's mean, below which a channel's sensitivity is not believed.
FLOOR = 1e-3
# To meet the operations that were asked for, within TOLERANCE.
TRIES = 12
# By which thetas change for that: some networks cannot take so many operations, or so few.
MOST = 64.0
TOLERANCE = 0.005


@torch.enable_grad()
def sensitivity(graph: Graph, images: Sequence[Tensor], seed: int = 0) -> dict[str, Tensor]:
    """S[l, c] = E[(d (v . heads / |heads|) / d a[l, c])^2] of every activation, [C]: what unit
    noise there does.

    v is standard normal, so one backward pass measures all outputs at once (Hutchinson 1990); the
    mean is over images, positions and PROBES draws of v. images: batches, [N, C, H, W]. Equal for
    equal seeds.
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
            seen = sum(
                (y * v).flatten(1).sum(1) for y, v in zip(outputs, noise, strict=True)
            ) / torch.sqrt(norm)
            gradients = torch.autograd.grad(
                seen.sum(), list(taps.values()), retain_graph=k < PROBES - 1
            )
            for name, gradient in zip(taps, gradients, strict=True):
                mean = (
                    gradient.double().square().transpose(0, 1).flatten(1).sum(1)
                    / gradient[0, 0].numel()
                )
                sums[name] = sums.get(name, 0) + mean
    total = PROBES * sum(len(x) for x in images)
    return {name: (value / total).float() for name, value in sums.items()}


def balanced(network: CompleteNetwork, sensitive: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """theta of every activation, [C], but for a common factor.

    Rounding makes noise of theta^2 / 12, which S turns into error of the output, and halving theta
    costs a third of a digit times the fan-out F. Where the sum of both is least, S theta^2 is
    proportional to F: so it is between layers. Between the channels of a layer half of the exponent
    does as well, and trusts an estimate less.
    """
    costs = {
        name: torch.stack([network.costs[s].mean() for s in network.senders(name)]).sum()
        for name in sensitive
    }
    least = min((cost for cost in costs.values() if cost > 0), default=torch.tensor(1.0))
    thetas = {}
    for name, own in sensitive.items():
        # Those that only sums and outputs read would cost nothing.
        cost = costs[name].clamp(min=least)
        mean = own.mean().clamp(min=1e-30)
        thetas[name] = torch.sqrt(cost / mean) * (own / mean).clamp(min=FLOOR) ** -0.25
    return thetas


@torch.no_grad()
def scaled_to(
    operations: float, network: CompleteNetwork, values: Values, images: Sequence[Tensor]
) -> dict[str, dict[str, Tensor]]:
    """The values with all thetas times one factor, with which the network takes so many operations
    per MAC on images.

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
        n: scaled(own, factor, graph[n].phi.cap, least.get(n)) if n in sites else dict(own)
        for n, own in values.items()
    }


# Thetas that make up the usual statistic, at most: where an event costs little a neuron may send
# many.
FINEST = 1 << 14
# Of log theta; two thirds of it for what is counted in thetas.
RATE = 0.03
FEWEST = 4  # images per step, at least
LEAST = 1e-6  # probability
SENSITIVITY_IMAGES = 32
START, GAIN = 1.5, 0.03  # of the multiplier
# Times the operations, where each output of a layer has so few inputs that their errors do not
# average.
DEPTHWISE = 2.0
# Above so many layers with weights, times the operations: what they round away adds up.
LAYERS, DEEP = 40, 1.35
REPORTS = 10


def by_gradient(job: Job, neurons: NeuronParameters) -> NeuronParameters:
    """Thresholds by sensitivity, and training; see `rescaled` for the recipe's own factors."""
    recipe, (height, width) = job.recipe, job.images[0].shape[2:]
    settings = replace(
        recipe.calibration, operations=budget(job.graph, recipe.calibration.operations)
    )
    least = {name: own["theta"] / FINEST for name, own in neurons.items()}
    network = CompleteNetwork(
        job.graph, (height, width), recipe.neuron.slack, recipe.neuron.pool_first, least
    )
    if recipe.threshold.rule == "sensitivity":
        job.progress("sensitivity")
        few = job.images[: max(1, SENSITIVITY_IMAGES // len(job.images[0]))]
        thetas = balanced(network, sensitivity(network.graph, few, recipe.encoding.seed))
        # A first guess of their factor: a tenth of the usual statistic.
        usual = sum(own["theta"].mean() for own in neurons.values())
        factor = usual / sum(theta.mean() for theta in thetas.values()) / 10
        neurons = {name: {**own, "theta": thetas[name] * factor} for name, own in neurons.items()}
        neurons = scaled_to(settings.operations, network, neurons, few)
    if settings.kind == "trained":
        neurons = train(network, job.graph, job.spec, neurons, job.images, settings, job.progress)
    return neurons


def budget(graph: Graph, operations: float) -> float:
    """The operations per MAC to aim at: those asked for, DEPTHWISE times as many with depthwise
    convolutions, and DEEP times as many in another network of more than LAYERS layers.
    """
    weights = (
        graph.tensors[f"{node.name}.weight"]
        for node in graph.weighted
        if node.attrs.get("groups", 1) > 1
    )
    if any(weight.shape[1] == 1 for weight in weights):
        return operations * DEPTHWISE
    return operations * DEEP if len(graph.weighted) > LAYERS else operations


@torch.enable_grad()
def train(
    network: CompleteNetwork,
    ann: Graph,
    spec: Spec,
    start: Values,
    images: Sequence[Tensor],
    settings: Calibration,
    progress: Callable[[str], Any] = lambda text: None,
) -> dict[str, dict[str, Tensor]]:
    """Parameters of the neurons: theta, initial, bias and rest, [C] each, and the bias of each
    output.

    Those of the start, at the same operations, if the descent has not made them better: for a few
    neurons with coarse thetas the gradient may mislead.

    start: thetas, and initial potentials. images: batches. settings: how many operations to aim at,
    and steps to take.
    """
    operations, steps = settings.operations, settings.steps
    few = images[:: max(1, len(images) * len(images[0]) // 32)]
    start = scaled_to(operations, network, start, few)
    x = torch.cat(list(images))
    with torch.no_grad():
        expected = [
            torch.cat(parts) for parts in zip(*(forward(ann, part) for part in images), strict=True)
        ]
    names = [name for name in network.graph.outputs if name not in network.sites]
    scales = {
        n: y.square().mean().sqrt()
        for n, y in zip(network.graph.outputs, expected, strict=True)
        if n in names
    }
    logs = {name: start[name]["theta"].log() for name in network.sites}
    initial = {n: start[n]["initial"].expand(c).clone() for n, c in network.sites.items()}
    bias = {name: torch.zeros(c) for name, c in network.sites.items()}
    output = {
        name: torch.zeros(expected[network.graph.outputs.index(name)].shape[1]) for name in names
    }
    rest = {name: torch.zeros(c) for name, c in network.sites.items()}
    tuned = [*logs.values(), *initial.values(), *bias.values(), *output.values(), *rest.values()]
    groups = [
        {"params": list(logs.values()), "lr": RATE},
        {"params": tuned[len(logs) :], "lr": RATE * 2 / 3},
    ]
    for tensor in tuned:
        tensor.requires_grad_()
    adam = torch.optim.Adam(groups, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        adam, lambda k: 0.05 + 0.475 * (1 + math.cos(math.pi * k / steps))
    )

    def values() -> dict[str, dict[str, Tensor]]:
        thetas = {name: log.exp() for name, log in logs.items()}
        own = {
            name: {
                "theta": theta,
                "initial": initial[name],
                "bias": bias[name] * theta.detach(),
                "rest": rest[name],
            }
            for name, theta in thetas.items()
        }
        return own | {name: {"bias": value * scales[name] / 20} for name, value in output.items()}

    multiplier = START
    for k, drawn in enumerate(_batches(len(x), max(FEWEST, spec.images_at_once), steps)):
        outputs, spent = network(x[drawn], values())
        ratio = spent.mean() / operations
        loss = error(outputs, [y[drawn] for y in expected], spec) + multiplier * ratio**4 / 4
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
        multiplier *= max(ratio.item(), 0.5) ** GAIN
        if k % max(1, steps // REPORTS) == 0:
            progress(f"trained {k} of {steps}: operations {spent.mean().item():.2f}")
    with torch.no_grad():
        trained = {n: {k: v.detach() for k, v in own.items()} for n, own in values().items()}
        end = scaled_to(operations, network, trained, few)

        def error_of(values: Values) -> float:
            return sum(error(network(x, values)[0], forward(ann, x), spec).item() for x in few)

        return min(start, end, key=error_of)


def error(outputs: Sequence[Tensor], expected: Sequence[Tensor], spec: Spec) -> Tensor:
    """log of the weighted geometric mean of the errors that are made small."""
    scores = divergence(outputs, expected, spec).clamp(min=LEAST**2).log() / 2
    if any(HEADS[head.kind].overlap for head in spec.heads):
        missed = displacement(outputs, expected, spec).clamp(min=LEAST).log()
        scores = (2 * scores + missed) / 3
    return mean_relative_error(outputs, expected).log() / 4 + scores * 3 / 4


def mean_relative_error(outputs: Sequence[Tensor], expected: Sequence[Tensor]) -> Tensor:
    """Norm of the difference over the norm of what was expected, over all outputs; mean over
    images.
    """
    pairs = list(zip(outputs, expected, strict=True))
    wrong = torch.stack([(y - e).square().flatten(1).sum(1) for y, e in pairs]).sum(0)
    return torch.sqrt(
        wrong / torch.stack([e.square().flatten(1).sum(1) for _, e in pairs]).sum(0)
    ).mean()


def divergence(outputs: Sequence[Tensor], expected: Sequence[Tensor], spec: Spec) -> Tensor:
    """Kullback-Leibler divergence of the scores from the ANN's, summed over boxes and classes; mean
    over images.

    Each score of a box is a probability of its own; the classes of a classifier share one.
    """
    if spec.task == "classify":
        p, q = (ys[0].log_softmax(1) for ys in (expected, outputs))
        return (p.exp() * (p - q)).sum(1).mean()
    p, q = (decode(ys, spec)[1].clamp(LEAST, 1 - LEAST) for ys in (expected, outputs))
    return (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).flatten(1).sum(1).mean()


def displacement(outputs: Sequence[Tensor], expected: Sequence[Tensor], spec: Spec) -> Tensor:
    """1 - GIoU (Rezatofighi 2019) of each box and the ANN's: mean weighted by the ANN's best score
    in each place.
    """
    (boxes, _), (wanted, scores) = (decode(ys, spec) for ys in (outputs, expected))
    boxes, wanted = boxes.clamp(-1, 2), wanted.clamp(-1, 2)  # as `detections` takes them
    weight, missed = scores.amax(2), generalized_box_iou_loss(boxes, wanted)
    return (weight * missed).sum() / weight.sum()


def _batches(n: int, size: int, steps: int) -> Iterator[Tensor]:
    """Positions of images, in a new order each time all have been seen. Equal for equal
    arguments.
    """
    generator = torch.Generator().manual_seed(0)
    waiting = torch.zeros(0, dtype=torch.long)
    for _ in range(steps):
        while len(waiting) < min(size, n):
            waiting = torch.cat([waiting, torch.randperm(n, generator=generator)])
        yield waiting[:size]
        waiting = waiting[size:]
