"""Training without labels: neurons, and weights with them, learn to answer as the ANN does.

theta, initial potential, bias and resting value of every channel are trained by gradient descent,
so that the output is the ANN's at the operations asked for. Rounding passes gradients on (the
straight-through estimator, see differentiable.py), as in quantisation-aware distillation (Polino et
al. 2018). Weights that are trained are rounded to 8 bits throughout, as a chip holds them.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from spiking_yolo.convert.differentiable import (
    CompleteNetwork,
    Values,
    VideoNetwork,
    straight_through,
)
from spiking_yolo.convert.sensitivity import LEAST, TOLERANCE, budget, few_of, scaled_to
from spiking_yolo.convert.thresholds import NeuronParameters
from spiking_yolo.decode.boxes import decode
from spiking_yolo.errors import Notice
from spiking_yolo.graph import Graph, forward
from spiking_yolo.graph.rewrites import product_sources
from spiking_yolo.models.heads import HEADS
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import Calibration, Recipe
from spiking_yolo.snn.layout import channels_last

# Learning rates of log theta, and of what is counted in thetas.
RATES = (0.03, 0.02)
# Of kernels, in units of the root mean square of an output channel.
KERNEL_RATE = 1e-3
# Images per step, at least.
FEWEST = 2
# Of the multiplier of the operations: at the start, and how fast it follows them.
START, GAIN = 1.5, 0.03


@dataclass(frozen=True)
class Shares:
    """What counts in the loss: the shares of the errors of outputs, scores and boxes.

    power: A box counts by this power of its best score.
    """

    outputs: float
    scores: float
    boxes: float = 0.0
    power: int = 1


OF_CLASSES = Shares(1 / 4, 3 / 4)


def shares_of(spec: Spec) -> Shares:
    """What counts where the neurons alone are trained.

    Boxes count where those of a head were trained by overlap. Where they are not suppressed, one
    place speaks for an object, so that they count by the square of their score, and outputs little.
    """
    if spec.task == "classify":
        return OF_CLASSES
    if not spec.nms:
        return Shares(0.1, 0.55, 0.35, power=2)
    if any(HEADS[head.kind].overlap for head in spec.heads):
        return Shares(1 / 4, 1 / 2, 1 / 4)
    return Shares(1 / 4, 3 / 4)


@dataclass(frozen=True)
class Plan:
    """How something is trained.

    Attributes:
        operations: Per MAC of the ANN, to aim at.
        steps: Training steps.
        shares: Shares of the terms of the loss.
        rates: Learning rates of log theta, and of what is counted in thetas.
        beta: Adam's decay of the squares of gradients.
        last: Factor on the learning rates in the end.
        warmup: Share of the steps in which they rise.
    """

    operations: float
    steps: int
    shares: Shares
    rates: tuple[float, float] = RATES
    beta: float = 0.95
    last: float = 0.05
    warmup: float = 0.0

    def factor(self, step: int) -> float:
        """On the learning rates of a step: a linear rise, and half a cosine down."""
        cosine = math.cos(math.pi * step / self.steps)
        factor = self.last + (1 - self.last) * (1 + cosine) / 2
        if self.warmup:
            factor *= min(1.0, (step + 1) / self.steps / self.warmup)
        return factor


class Training:
    """What is trained, and how far it is.

    Args:
        network: The spiking network.
        spec: Its interface.
        start: Parameters of the neurons to start from.
        expected: Outputs of the ANN for some images.
        plan: How.
        kernels: Those that are trained too.

    Attributes:
        steps: Number of steps that are done.
    """

    def __init__(
        self,
        network: CompleteNetwork,
        spec: Spec,
        start: Values,
        expected: Sequence[Tensor],
        plan: Plan,
        kernels: "TrainableKernels | None" = None,
    ):
        self.network = network
        self.spec = spec
        self.plan = plan
        self.neurons = TrainableNeurons(network, start, expected)
        self.kernels = kernels
        tensors = self.neurons.tensors()
        thetas = len(self.neurons.logs)
        groups: list[dict[str, Any]] = [{"params": tensors[:thetas]}, {"params": tensors[thetas:]}]
        self.rates = list(plan.rates)
        if kernels is not None:
            groups.append({"params": list(kernels.changes.values())})
            self.rates.append(KERNEL_RATE)
        self.adam = torch.optim.Adam(groups, betas=(0.9, plan.beta))
        self.multiplier = START
        self.steps = 0

    def state(self) -> tuple[Values, Mapping[str, Tensor]]:
        """The values of the neurons, and all tensors of the graph."""
        values = self.neurons.values()
        if self.kernels is None:
            return values, self.network.tensors
        return values, self.kernels.values()

    @torch.enable_grad()
    def step(self, x: Tensor, expected: Sequence[Tensor]) -> tuple[float, float]:
        """Train on some images, or clips.

        Args:
            x: As the network takes it.
            expected: Outputs of the ANN.

        Returns:
            The operations per MAC, and the error.

        Raises:
            FloatingPointError: The loss is not finite.
        """
        for group, rate in zip(self.adam.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.plan.factor(self.steps)
        values, tensors = self.state()
        outputs, spent = self.network.with_tensors(tensors)(x, values)
        ratio = spent.mean() / self.plan.operations
        error = answer_error(outputs, expected, self.spec, self.plan.shares)
        loss = error + self.multiplier * ratio**4 / 4
        if not torch.isfinite(loss):
            raise FloatingPointError
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self.multiplier *= max(ratio.item(), 0.5) ** GAIN
        self.steps += 1
        return spent.mean().item(), error.item()


@torch.no_grad()
def train(
    network: CompleteNetwork,
    ann: Graph,
    spec: Spec,
    start: Values,
    images: Sequence[Tensor],
    settings: Calibration,
    progress: Callable[..., Any] = lambda text, done, total: None,
) -> Values:
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
    plan = Plan(settings.operations, settings.steps, shares_of(spec))
    few = few_of(images)
    start = scaled_to(plan.operations, network, start, few)
    training = Training(network, spec, start, forward(ann, few[0]), plan)
    for x in _batches(images, max(FEWEST, spec.images_at_once), plan.steps):
        progress("training", training.steps, plan.steps)
        try:
            training.step(x, forward(ann, x))
        except FloatingPointError:
            return start
    progress("training", plan.steps, plan.steps)
    end = scaled_to(plan.operations, network, training.neurons.values(detach=True), few)

    def error_of(values: Values) -> float:
        total = 0.0
        for x in few:
            outputs = network(x, values)[0]
            total += answer_error(outputs, forward(ann, x), spec, plan.shares).item()
        return total

    return min(start, end, key=error_of)


class TrainableNeurons:
    """What is trained, in units in which one learning rate serves all: [C] each, by node.

    logs: log theta. initial, bias, rest: in thetas. output: the bias of an output that no neurons
    make, in twentieths of its root mean square.
    """

    def __init__(self, network: CompleteNetwork, start: Values, expected: Sequence[Tensor]):
        sites = network.sites
        self.least = network.least
        self.logs: dict[str, Tensor] = {}
        self.initial: dict[str, Tensor] = {}
        for name, channels in sites.items():
            self.logs[name] = start[name]["theta"].expand(channels).log()
            self.initial[name] = start[name]["initial"].expand(channels).clone()
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
        tensors: list[Tensor] = []
        for group in (self.logs, self.initial, self.bias, self.output, self.rest):
            tensors += group.values()
        return tensors

    def values(self, detach: bool = False) -> dict[str, dict[str, Tensor]]:
        """The parameters of the neurons, and the biases of the outputs; detach: without graph."""
        values: dict[str, dict[str, Tensor]] = {}
        for name, log in self.logs.items():
            theta = log.exp()
            if name in self.least:
                theta = straight_through(theta.maximum(self.least[name]), theta)
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


class TrainableKernels:
    """Changes of the kernels of a graph, in units of the root mean square of each output channel,
    in which one learning rate serves all layers.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.changes: dict[str, Tensor] = {}
        self.scales: dict[str, Tensor] = {}
        for node in graph.weighted:
            name = f"{node.name}.weight"
            weight = graph.tensors[name]
            rms = weight.flatten(1).square().mean(1).sqrt().clamp(min=1e-12)
            self.scales[name] = rms.reshape(-1, *[1] * (weight.ndim - 1))
            self.changes[name] = torch.zeros_like(weight).requires_grad_()

    def values(self) -> dict[str, Tensor]:
        """All tensors of the graph."""
        tensors = dict(self.graph.tensors)
        for name, change in self.changes.items():
            tensors[name] = tensors[name] + self.scales[name] * change
        return tensors


def answer_error(
    outputs: Sequence[Tensor], expected: Sequence[Tensor], spec: Spec, shares: Shares
) -> Tensor:
    """The loss: log of a weighted geometric mean of the errors of outputs, scores and boxes.

    They are the relative error of the outputs, the root of the divergence of the scores, which is
    quadratic in small errors, and the displacement of the boxes.
    """
    distance = mean_relative_error(outputs, expected).clamp(min=LEAST).log()
    if spec.task == "classify":
        of_scores = class_divergence(outputs[0], expected[0]).clamp(min=LEAST**2).log() / 2
        return distance * shares.outputs + of_scores * shares.scores
    boxes, scores = decode(outputs, spec)
    ann_boxes, ann_scores = decode(expected, spec)
    of_scores = divergence(scores, ann_scores).clamp(min=LEAST**2).log() / 2
    error = distance * shares.outputs + of_scores * shares.scores
    if shares.boxes:
        moved = displacement(boxes, ann_boxes, ann_scores**shares.power)
        error = error + moved.clamp(min=LEAST).log() * shares.boxes
    return error


def mean_relative_error(outputs: Sequence[Tensor], expected: Sequence[Tensor]) -> Tensor:
    """Norm of the difference over the norm of what was expected, over all outputs; mean over
    images.
    """
    errors: list[Tensor] = []
    squares: list[Tensor] = []
    for y, wanted in zip(outputs, expected, strict=True):
        errors.append((y - wanted).square().flatten(1).sum(1))
        squares.append(wanted.square().flatten(1).sum(1))
    return torch.sqrt(torch.stack(errors).sum(0) / torch.stack(squares).sum(0)).mean()


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


def _batches(images: Sequence[Tensor], size: int, steps: int) -> Iterator[Tensor]:
    """So many batches of images, in a new order whenever all were used. Equal for equal arguments.

    images: Batches, all but the last of the same size.
    """
    generator = torch.Generator().manual_seed(0)
    at_once = len(images[0])
    n = sum(map(len, images))
    waiting: list[int] = []
    for _ in range(steps):
        while len(waiting) < min(size, n):
            waiting += torch.randperm(n, generator=generator).tolist()
        yield torch.stack([images[k // at_once][k % at_once] for k in waiting[:size]])
        waiting = waiting[size:]


# Learning rates of tuning, as RATES.
TUNING_RATES = (0.01, 0.006)
# Boxes count for every detector: weights that move can give up what no score needs.
OF_BOXES = Shares(1 / 5, 3 / 5, 1 / 5)
# Percent of the error that a percent of operations is worth, where states are compared, of pictures
# and of later frames.
ELASTICITY, LATER_ELASTICITY = 1.3, 0.6
# Steps between comparisons of the state on validation pictures.
EVERY = 100

Row = dict[str, float]


@dataclass(frozen=True)
class Tuned:
    """What tuning has learned.

    Attributes:
        neurons: Parameters of every layer of neurons.
        weights: The kernels of the graph that were tuned, float32 on the grid of 8 bits.
        error: `answer_error` on validation pictures.
        operations: Per MAC of the ANN, their mean there.
        step: Training step of the state.
    """

    neurons: NeuronParameters
    weights: Mapping[str, Tensor]
    error: float
    operations: float
    step: int


class Tuning(Training):
    """One run of tuning: what is trained, how far it is, and the best state so far.

    Args:
        ann: The network to imitate.
        spec: Its interface.
        recipe: Whose calibration gives goal and steps, and whether weights move.
        start: Parameters of the neurons to start from, scaled to the goal.
        validation: Batches of pictures that are not trained on, and on which states are compared;
            of clips [N, K, C, H, W] where the recipe trains on them.
        device: Device to train on.
        least: The smallest theta of each activation, [C]: see `thresholds.least_theta`.

    Attributes:
        rows: Figures, means of EVERY steps each.
        best: The best state so far; None before the first comparison.
    """

    def __init__(
        self,
        ann: Graph,
        spec: Spec,
        recipe: Recipe,
        start: NeuronParameters,
        validation: Sequence[Tensor],
        device: torch.device | str = "cpu",
        least: Mapping[str, Tensor] = {},
    ):
        self.least = {name: theta.to(device) for name, theta in least.items()}
        self.device = torch.device(device)
        self.ann = ann.to(device)
        calibration = recipe.calibration
        self.video = calibration.frames > 1
        self.goal = budget(ann, calibration.operations)
        self.validation: list[Tensor] = []
        self.answers: list[Sequence[Tensor]] = []
        for x in validation:
            x = x.to(self.device)
            self.validation.append(x)
            self.answers.append(self._answer(x))
        values = moved(start, self.device)
        network = self._network(recipe, (spec.height, spec.width))
        values = scaled_to(self.goal, network, values, self.validation)
        shares = OF_BOXES
        if spec.task == "classify":
            shares = OF_CLASSES
        plan = Plan(
            self.goal, calibration.steps, shares, TUNING_RATES, beta=0.99, last=0.03, warmup=0.03
        )
        kernels = None
        if calibration.weights:
            kernels = TrainableKernels(network.graph)
        super().__init__(network, spec, values, self.answers[0], plan, kernels)
        self.start = values
        self.rows: list[Row] = []
        self.best: Tuned | None = None
        self._sums: Row = {}

    def _network(self, recipe: Recipe, size: tuple[int, int]) -> CompleteNetwork:
        neuron = recipe.neuron
        if self.video:
            network = VideoNetwork(self.ann, size, neuron.slack, self.least, neuron.hysteresis)
        else:
            network = CompleteNetwork(self.ann, size, neuron.slack, self.least)
        for name, cost in network.costs.items():
            network.costs[name] = cost.to(self.device)
        return network

    @torch.no_grad()
    def _answer(self, x: Tensor) -> Sequence[Tensor]:
        """The outputs of the ANN; of clips for their last frames."""
        if self.video:
            x = x[:, -1]
        return forward(self.ann, channels_last(x))

    def train_on(self, x: Tensor) -> None:
        """Train on pictures [N, C, H, W], or on clips [N, K, C, H, W], and note the figures.

        After EVERY steps they become a row, and the state is kept if it is the best so far.

        Raises:
            FloatingPointError: The loss is not finite.
        """
        operations, error = self.step(x, self._answer(x))
        for name, value in (("operations", operations), ("error", error)):
            self._sums[name] = self._sums.get(name, 0.0) + value
        if self.steps % EVERY and self.steps != self.plan.steps:
            return
        count = (self.steps - 1) % EVERY + 1
        row = {"step": float(self.steps)}
        for name, value in self._sums.items():
            row[name] = value / count
        self._sums = {}
        state = self._compared()
        row |= {"validation_error": state.error, "validation_operations": state.operations}
        self.rows.append(row)

    def _compared(self) -> Tuned:
        """The state with its figures on the validation pictures; the best so far is kept."""
        values, tensors = self.state()
        error, operations = self._measured(values, tensors)
        weights: dict[str, Tensor] = {}
        if self.kernels:
            for name in self.kernels.changes:
                weights[name] = tensors[name].detach().clone()
        # Without memory that training goes on to change.
        neurons = moved(self.neurons.values(detach=True), self.device, copy=True)
        state = Tuned(neurons, weights, error, operations, self.steps)
        if self.best is None or self._score(state) < self._score(self.best):
            self.best = state
        return state

    def _score(self, state: Tuned) -> float:
        """The error that the state would have at the goal, to which `result` scales it."""
        excess = math.log(state.operations / self.goal)
        if self.video:
            return state.error + LATER_ELASTICITY * excess
        return state.error + ELASTICITY * excess

    @torch.no_grad()
    def _measured(self, values: Values, tensors: Mapping[str, Tensor]) -> tuple[float, float]:
        """Error and operations on the validation pictures."""
        network = self.network.with_tensors(tensors)
        errors: list[Tensor] = []
        spent: list[Tensor] = []
        for x, expected in zip(self.validation, self.answers, strict=True):
            outputs, operations = network(x, values)
            errors += [answer_error(outputs, expected, self.spec, self.plan.shares)] * len(x)
            spent.append(operations)
        return torch.stack(errors).mean().item(), torch.cat(spent).mean().item()

    @torch.no_grad()
    def result(self) -> Tuned:
        """The best state, with thetas scaled so that it takes the operations of the goal; the start
        where training has not made it better.

        A Notice says where the network cannot take so few.
        """
        best = self.best
        assert best is not None
        network = self.network.with_tensors({**self.network.graph.tensors, **best.weights})
        values = scaled_to(self.goal, network, best.neurons, self.validation)
        error, operations = self._measured(values, network.tensors)
        if operations > self.goal * (1 + 2 * TOLERANCE):
            warnings.warn(
                Notice(
                    f"the goal of {self.goal:g} operations per MAC was not reached, but"
                    f" {operations:.3g}: set more calibration.steps, or more calibration.operations"
                ),
                stacklevel=2,
            )
        tensors = self.network.tensors
        start_error, start_operations = self._measured(self.start, tensors)
        if start_error < error:
            weights = {name: tensors[name] for name in best.weights}
            return Tuned(self.start, weights, start_error, start_operations, 0)
        return Tuned(values, best.weights, error, operations, best.step)

    def _trained(self) -> list[Tensor]:
        trained: list[Tensor] = []
        for group in self.adam.param_groups:
            trained += group["params"]
        return trained

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, as plain tensors and numbers."""
        best = None
        if self.best is not None:
            best = vars(self.best)
        return {
            "trained": [parameter.detach() for parameter in self._trained()],
            "adam": self.adam.state_dict(),
            "best": best,
            "multiplier": self.multiplier,
            "steps": self.steps,
            "rows": self.rows,
            "sums": self._sums,
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned for a tuning of the same arguments."""
        for parameter, value in zip(self._trained(), state["trained"], strict=True):
            parameter.copy_(value)
        self.adam.load_state_dict(state["adam"])
        self.multiplier = state["multiplier"]
        self.steps = state["steps"]
        self.rows = state["rows"]
        self._sums = state["sums"]
        if state["best"] is not None:
            self.best = Tuned(**state["best"])


def moved(neurons: Values, device: torch.device, copy: bool = False) -> NeuronParameters:
    """The parameters on a device. copy: in memory of their own."""
    result: dict[str, dict[str, Tensor]] = {}
    for name, own in neurons.items():
        result[name] = {key: value.to(device, copy=copy) for key, value in own.items()}
    return result
