"""Training of the neurons without labels.

Thresholds come from the sensitivity of the output. Then theta, initial potential, bias and resting
value of every channel are trained by gradient descent, so that the output is the ANN's at the
operations asked for.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from spiking_yolo.convert.differentiable import CompleteNetwork, Values
from spiking_yolo.convert.output_error import Job
from spiking_yolo.convert.sensitivity import (
    LEAST,
    balanced,
    boxes_and_scores,
    relative_outputs,
    sensitivity,
)
from spiking_yolo.convert.thresholds import NeuronParameters, scaled
from spiking_yolo.data.detection import spread
from spiking_yolo.decode.boxes import decode
from spiking_yolo.graph import Graph, forward
from spiking_yolo.graph.rewrites import product_sources
from spiking_yolo.models.heads import HEADS
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import Calibration

# Images on which sensitivities and operations are measured, and errors compared, at most.
FEW = 32
# The operations that were asked for are met within TOLERANCE, in at most so many corrections, by a
# factor on all thetas of at most MAX_FACTOR: some networks cannot take so many operations or so
# few.
TRIES = 12
MAX_FACTOR = 64.0
TOLERANCE = 0.005
# Thetas that make up the usual statistic, at most: a neuron may send many where events cost little.
FINEST = 1 << 14
# Learning rate of log theta; of what is counted in thetas two thirds.
RATE = 0.03
# Images per step, at least.
FEWEST = 2
# Of the multiplier of the operations: at the start, and how fast it follows them.
START, GAIN = 1.5, 0.03
# Factor on the operations of networks in which so large a share of the layers is depthwise: each of
# their outputs has few inputs, whose errors do not average.
DEPTHWISE, SHARE = 2.0, 0.25
# Layers with weights, and the factor on the operations of networks that have more of them: errors
# add up.
DEEP = ((80, 1.55), (40, 1.35))


def by_gradient(job: Job, neurons: NeuronParameters) -> NeuronParameters:
    """Thresholds by sensitivity, and training; see `rescaled` for the recipe's own factors."""
    recipe = job.recipe
    height, width = job.images[0].shape[2:]
    operations = budget(job.graph, recipe.calibration.operations)
    settings = replace(recipe.calibration, operations=operations)
    least = {name: values["theta"] / FINEST for name, values in neurons.items()}
    network = CompleteNetwork(job.graph, (height, width), recipe.neuron.slack, least)
    few = _few(job.images)
    if recipe.threshold.rule == "sensitivity":
        job.progress("sensitivity")
        measure = relative_outputs
        if job.spec.task == "detect":
            measure = partial(boxes_and_scores, spec=job.spec)
        thetas = balanced(network, sensitivity(network.graph, few, recipe.encoding.seed, measure))
        # A first guess of their factor: a tenth of the usual statistic.
        usual = sum(values["theta"].mean() for values in neurons.values())
        factor = usual / sum(theta.mean() for theta in thetas.values()) / 10
        neurons = {
            name: {**values, "theta": thetas[name] * factor} for name, values in neurons.items()
        }
    if settings.kind == "trained":
        return train(network, job.graph, job.spec, neurons, job.images, settings, job.progress)
    return scaled_to(operations, network, neurons, few)


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

    The factor is searched by the secant method in logarithms; halving theta costs about half as
    much again.

    Args:
        operations: Per MAC of the ANN, the mean over the images.
    """
    low, high = -math.log(MAX_FACTOR), math.log(MAX_FACTOR)
    # log factor, and log operations by it.
    factor, slope = 0.0, -2 / 3
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
            slope = min((excess - last[1]) / (factor - last[0]), -0.1)
        last = (factor, excess)
        factor -= excess / slope
        if not low < factor < high:
            factor = (low + high) / 2
    return times(math.exp(factor), network, values)


def times(factor: float, network: CompleteNetwork, values: Values) -> dict[str, dict[str, Tensor]]:
    """The values with all thetas times a factor, within what the network allows."""
    result = {}
    for name, parameters in values.items():
        result[name] = dict(parameters)
        if name in network.sites:
            cap = network.graph[name].phi.cap
            result[name] = scaled(parameters, factor, cap, network.least.get(name))
    return result


@torch.enable_grad()
def train(
    network: CompleteNetwork,
    ann: Graph,
    spec: Spec,
    start: Values,
    images: Sequence[Tensor],
    settings: Calibration,
    progress: Callable[..., Any] = lambda text, done, total: None,
) -> dict[str, dict[str, Tensor]]:
    """Train the neurons so that the outputs are the ANN's, at the same operations.

    Args:
        start: thetas, and initial potentials.
        images: Batches.
        settings: How many operations to aim at, and steps to take.
        progress: progress(text, done, total), called before every step, and at the end.

    Returns:
        theta, initial, bias and rest, [C] each, and the bias of each output; those of the start
        where training has not made them better: for a few neurons with coarse thetas the gradient
        may mislead.
    """
    operations, steps = settings.operations, settings.steps
    few = _few(images)
    start = scaled_to(operations, network, start, few)
    parameters = TrainableNeurons(network, start, forward(ann, few[0]))
    tensors = parameters.tensors()
    thetas = len(parameters.logs)
    groups = [
        {"params": tensors[:thetas], "lr": RATE},
        {"params": tensors[thetas:], "lr": RATE * 2 / 3},
    ]
    adam = torch.optim.Adam(groups, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        adam, lambda k: 0.05 + 0.475 * (1 + math.cos(math.pi * k / steps))
    )
    multiplier = START
    for k, x in enumerate(_batches(images, max(FEWEST, spec.images_at_once), steps)):
        progress("training", k, steps)
        with torch.no_grad():
            expected = forward(ann, x)
        outputs, spent = network(x, parameters.values())
        ratio = spent.mean() / operations
        loss = error(outputs, expected, spec) + multiplier * ratio**4 / 4
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
        multiplier *= max(ratio.item(), 0.5) ** GAIN
    progress("training", steps, steps)

    def error_of(values: Values) -> float:
        return sum(error(network(x, values)[0], forward(ann, x), spec).item() for x in few)

    with torch.no_grad():
        trained = parameters.values(detach=True)
        end = scaled_to(operations, network, trained, few)
        return min(start, end, key=error_of)


class TrainableNeurons:
    """What is trained, in units in which one learning rate serves all: [C] each, by node.

    logs: log theta. initial, bias, rest: in thetas. output: the bias of an output that no neurons
    make, in twentieths of its root mean square.
    """

    def __init__(self, network: CompleteNetwork, start: Values, expected: Sequence[Tensor]):
        sites = network.sites
        self.logs = {name: start[name]["theta"].expand(c).log() for name, c in sites.items()}
        self.initial = {name: start[name]["initial"].expand(c).clone() for name, c in sites.items()}
        # A softmax does not change with the mean of its scores, and a value at rest costs nothing
        # only where weights that are known beforehand receive it.
        softmaxes = {node.name for node in network.graph.activations if node.phi.softmax}
        products = product_sources(network.graph)
        self.bias: dict[str, Tensor] = {}
        self.rest: dict[str, Tensor] = {}
        for name, theta in self.logs.items():
            nothing = torch.zeros_like(theta)
            if name not in softmaxes:
                self.bias[name] = start[name].get("bias", nothing) / theta.exp()
            if name not in products:
                self.rest[name] = start[name].get("rest", nothing).expand_as(theta).clone()
        self.output: dict[str, Tensor] = {}
        self.scales: dict[str, Tensor] = {}
        for name, y in zip(network.graph.outputs, expected, strict=True):
            if name not in sites:
                self.scales[name] = y.square().mean().sqrt() / 20
                bias = start.get(name, {}).get("bias", y.new_zeros(y.shape[1]))
                self.output[name] = bias / self.scales[name]
        for tensor in self.tensors():
            tensor.requires_grad_()

    def tensors(self) -> list[Tensor]:
        """All that is trained, log theta first."""
        groups = (self.logs, self.initial, self.bias, self.output, self.rest)
        return [tensor for group in groups for tensor in group.values()]

    def values(self, detach: bool = False) -> dict[str, dict[str, Tensor]]:
        """The parameters of the neurons, and the biases of the outputs; detach: without graph."""
        values: dict[str, dict[str, Tensor]] = {}
        for name, log in self.logs.items():
            theta = log.exp()
            values[name] = {"theta": theta, "initial": self.initial[name]}
            if name in self.bias:
                values[name]["bias"] = self.bias[name] * theta.detach()
            if name in self.rest:
                values[name]["rest"] = self.rest[name]
        for name, bias in self.output.items():
            values[name] = {"bias": bias * self.scales[name]}
        if detach:
            for parameters in values.values():
                parameters.update({key: value.detach() for key, value in parameters.items()})
        return values


def error(outputs: Sequence[Tensor], expected: Sequence[Tensor], spec: Spec) -> Tensor:
    """The loss: log of a weighted geometric mean of several errors.

    They are the relative error of the outputs, the divergence of the scores and, where the boxes of
    a head were trained by overlap, their displacement. Where boxes are not suppressed, one place
    speaks for an object, so that boxes count by the square of their score, and outputs little.
    """
    distance = mean_relative_error(outputs, expected).log()
    if spec.task == "classify":
        return distance / 4 + _half_log(class_divergence(outputs[0], expected[0])) * 3 / 4
    boxes, scores = decode(outputs, spec)
    ann_boxes, ann_scores = decode(expected, spec)
    decoded = _half_log(divergence(scores, ann_scores))
    if not spec.nms:
        overlap = displacement(boxes, ann_boxes, ann_scores.square())
        return distance * 0.1 + decoded * 0.55 + overlap.clamp(min=LEAST).log() * 0.35
    if any(HEADS[head.kind].overlap for head in spec.heads):
        overlap = displacement(boxes, ann_boxes, ann_scores).clamp(min=LEAST).log()
        decoded = (2 * decoded + overlap) / 3
    return distance / 4 + decoded * 3 / 4


def _half_log(divergence: Tensor) -> Tensor:
    """Log of the root: a divergence is quadratic in small errors."""
    return divergence.clamp(min=LEAST**2).log() / 2


def mean_relative_error(outputs: Sequence[Tensor], expected: Sequence[Tensor]) -> Tensor:
    """Norm of the difference over the norm of what was expected, over all outputs; mean over
    images.
    """
    pairs = list(zip(outputs, expected, strict=True))
    errors = torch.stack([(y - e).square().flatten(1).sum(1) for y, e in pairs]).sum(0)
    squares = torch.stack([e.square().flatten(1).sum(1) for e in expected]).sum(0)
    return torch.sqrt(errors / squares).mean()


def class_divergence(logits: Tensor, expected: Tensor) -> Tensor:
    """Kullback-Leibler divergence of a classifier's classes from the ANN's, mean over images.

    logits: [N, C].
    """
    p = expected.log_softmax(1)
    q = logits.log_softmax(1)
    return (p.exp() * (p - q)).sum(1).mean()


def divergence(scores: Tensor, expected: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the scores of boxes, each a probability of its own, from the
    ANN's: summed over boxes and classes, mean over images.

    scores: [N, K, C].
    """
    p = expected.clamp(LEAST, 1 - LEAST)
    q = scores.clamp(LEAST, 1 - LEAST)
    return (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).flatten(1).sum(1).mean()


def displacement(boxes: Tensor, expected: Tensor, weights: Tensor) -> Tensor:
    """1 - GIoU (Rezatofighi 2019) of each box and the ANN's: mean weighted by the best weight in
    each place.

    boxes: [N, K, 4], xyxy as fractions of the input. weights: [N, K, C], such as the ANN's scores.
    """
    # As `detections` takes them.
    loss = generalized_box_iou_loss(boxes.clamp(-1, 2), expected.clamp(-1, 2))
    weight = weights.amax(2)
    return (weight * loss).sum() / weight.sum()


def _few(images: Sequence[Tensor]) -> Sequence[Tensor]:
    """Some of the batches, at equal distances."""
    return spread(images, max(1, FEW // len(images[0])))


def _batches(images: Sequence[Tensor], size: int, steps: int) -> Iterator[Tensor]:
    """So many batches of images, in a new order whenever all were used. Equal for equal arguments.

    images: Batches, all but the last of the same size.
    """
    generator = torch.Generator().manual_seed(0)
    at_once = len(images[0])
    n = sum(len(part) for part in images)
    waiting: list[int] = []
    for _ in range(steps):
        while len(waiting) < min(size, n):
            waiting += torch.randperm(n, generator=generator).tolist()
        yield torch.stack([images[k // at_once][k % at_once] for k in waiting[:size]])
        waiting = waiting[size:]
