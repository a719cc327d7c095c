"""Training without labels: neurons learn to answer as the ANN does, whose weights stay.

theta, initial potential, bias and resting value of every channel are trained by gradient descent,
so that the output is the ANN's at the operations asked for. Rounding passes gradients on (the
straight-through estimator, see differentiable.py), as in quantisation-aware distillation (Polino et
al. 2018). Weights are rounded to 8 bits throughout, as a chip holds them.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from spiking_yolo.convert.learn import differentiable
from spiking_yolo.convert.learn.differentiable import EPSILON, CompleteNetwork
from spiking_yolo.convert.learn.straight_through import straight_through
from spiking_yolo.decode.boxes import decode
from spiking_yolo.graph import Graph, forward
from spiking_yolo.graph.rewrites import product_sources
from spiking_yolo.models.heads import HEADS
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import Recipe
from spiking_yolo.spikes.layout import NeuronParameters, channels_last

# The outputs of a network, [N, ...] each.
Outputs = Sequence[Tensor]
# A run compares its state on the validation pictures so many times.
COMPARISONS = 10
# One percent of operations is worth so many percent of the error, for pictures and later frames.
ELASTICITY, LATER_ELASTICITY = 1.3, 0.6
# GAIN says how fast the logarithms of all thetas follow the share by which a batch exceeds the
# goal, in units of their learning rate.
GAIN = 7.0


@dataclass(frozen=True)
class Shares:
    """The shares of the errors of outputs, scores and boxes in the loss.

    power: A box counts by this power of its best score.
    """

    outputs: float
    scores: float
    boxes: float = 0.0
    power: int = 1


OF_CLASSES = Shares(1 / 4, 3 / 4)
# The loss of detectors that are tuned and whose heads were not trained by overlap.
OF_BOXES = Shares(1 / 5, 3 / 5, 1 / 5)


def shares_of(spec: Spec) -> Shares:
    """Choose the shares in the loss of a network.

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
    """The shares and learning rates of a training.

    Attributes:
        shares: Shares of the terms of the loss.
        rates: Learning rates of log theta, and of what is counted in thetas.
        beta: Adam's decay of the squares of gradients.
        last: Factor on the learning rates in the end.
        warmup: Share of the steps in which they rise.
    """

    shares: Shares
    rates: tuple[float, float] = (0.03, 0.02)
    beta: float = 0.95
    last: float = 0.05
    warmup: float = 0.0

    def factor(self, done: float) -> float:
        """The factor on the learning rates where a share is done: a linear rise, and half a cosine
        down.
        """
        factor = self.last + (1 - self.last) * (1 + math.cos(math.pi * done)) / 2
        if self.warmup:
            factor *= min(1.0, max(done, 1e-3) / self.warmup)
        return factor


def plan_of(recipe: Recipe, spec: Spec) -> Plan:
    """Choose how the calibration of a recipe is trained."""
    shares = shares_of(spec)
    if recipe.calibration.kind != "tuned":
        return Plan(shares)
    if spec.task == "detect" and not shares.boxes:
        shares = OF_BOXES
    return Plan(shares, (0.01, 0.006), beta=0.99, last=0.03, warmup=0.03)


@dataclass(frozen=True)
class State:
    """The parameters that training has learned by a step, and their figures.

    Attributes:
        neurons: Parameters of every layer of neurons.
        error: `answer_error` on validation pictures.
        operations: Per MAC of the ANN, their mean there.
    """

    neurons: NeuronParameters
    error: float = 0.0
    operations: float = 0.0


@dataclass(frozen=True)
class Session:
    """The duration of a training, and functions that it reports to.

    Attributes:
        seconds: Time for all of it; None: the recipe's steps.
        done: Share that an earlier session has done.
        progress: progress("training", percent, 100, remark), called after every step.
        save: save(state, done), called when a better state was found.
        say: say(line).
    """

    seconds: float | None = None
    done: float = 0.0
    progress: Callable[..., Any] = lambda *_: None
    save: Callable[[State, float], Any] = lambda *_: None
    say: Callable[[str], Any] = lambda _: None


class Training:
    """A training of neurons, with the best state so far.

    Args:
        ann: The network to imitate.
        spec: Its interface.
        recipe: Whose calibration gives goal and steps.
        start: Parameters of the neurons to start from, which are scaled to the goal.
        validation: Batches of pictures on which states are compared; of clips [N, K, C, H, W]
            where the recipe trains on them.
        device: Device to train on.
        least: The smallest theta of each activation, [C]: see `thresholds.least_thetas`.
    """

    def __init__(
        self,
        ann: Graph,
        spec: Spec,
        recipe: Recipe,
        start: NeuronParameters,
        validation: Sequence[Tensor],
        device: torch.device | str = "cpu",
        least: Mapping[str, Tensor] | None = None,
    ):
        calibration = recipe.calibration
        self.device, self.spec, self.recipe = torch.device(device), spec, recipe
        self.ann = ann.to(device)
        self.clips = calibration.frames > 1
        # Random crops may take more operations than the validation pictures, which meet the goal.
        self.goal = self.goal_of_batches = differentiable.budget(ann, calibration.operations)
        self.plan = plan_of(recipe, spec)
        self.validation = [x.to(self.device) for x in validation]
        self.answers = [self._answer(x) for x in self.validation]
        least = {name: theta.to(self.device) for name, theta in (least or {}).items()}
        self.network = differentiable.network_of(self.ann, spec, recipe, least)
        costs = self.network.costs.items()
        self.network.costs = {name: cost.to(self.device) for name, cost in costs}
        given = moved(start, self.device)
        values = differentiable.scaled_to(self.goal, self.network, given, self.validation)
        self.best = self.start = self._state(values)
        self.neurons = TrainableNeurons(self.network, values, self.answers[0])
        logs = list(self.neurons.logs.values())
        groups: list[dict[str, Any]] = [{"params": logs}]
        groups.append({"params": self.neurons.tensors()[len(logs) :]})
        self.adam = torch.optim.Adam(groups, betas=(0.9, self.plan.beta))
        self.elasticity = LATER_ELASTICITY if self.clips else ELASTICITY

    @torch.no_grad()
    def _answer(self, x: Tensor) -> Sequence[Tensor]:
        """The outputs of the ANN; of clips for their last frames."""
        if self.clips:
            x = x[:, -1]
        return forward(self.ann, channels_last(x))

    def run(self, pictures: Callable[[int], Tensor], session: Session = Session()) -> None:
        """Train to the end of the session, or until Ctrl-C.

        pictures: Batch by number, [N, C, H, W], or of clips [N, K, C, H, W].
        """
        steps, begin = self.recipe.calibration.steps, time.monotonic()
        number, done = round(session.done * steps), session.done
        compared = int(done * COMPARISONS)
        try:
            while done < 1:
                self.step(pictures(number).to(self.device), done)
                number += 1
                done = min(1.0, number / steps)
                if session.seconds is not None:
                    passed = (time.monotonic() - begin) / session.seconds
                    done = min(1.0, session.done + passed * (1 - session.done))
                if int(done * COMPARISONS) > compared:
                    compared = int(done * COMPARISONS)
                    if self.compare() and done < 1:
                        session.save(self.best, done)
                    session.say(f"{done:.0%}: {shown(self.best)}")
                session.progress("training", int(100 * done), 100, shown(self.best))
        except FloatingPointError:
            session.say("training stopped, since its loss is not finite: the best state is kept")
        except KeyboardInterrupt:
            self.compare()
            session.save(self.best, done)
            session.say("stopped: the best state is kept, and the same command goes on from there")
            raise

    @torch.enable_grad()
    def step(self, x: Tensor, done: float) -> None:
        """Train on pictures, or clips, where a share of the training is done.

        Raises:
            FloatingPointError: The loss is not finite.
        """
        for group, rate in zip(self.adam.param_groups, self.plan.rates, strict=True):
            group["lr"] = rate * self.plan.factor(done)
        outputs, spent = self.network(x, self.neurons.values())
        ratio = spent.mean() / self.goal_of_batches
        error = answer_error(outputs, self._answer(x), self.spec, self.plan.shares)
        loss = error + self.elasticity * ratio
        if not torch.isfinite(loss):
            raise FloatingPointError
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        # A step moves operations from some layers to others, and their sum stays at the goal.
        shift = GAIN * self.adam.param_groups[0]["lr"] * (ratio.detach() - 1).clamp(max=1)
        with torch.no_grad():
            for log in self.neurons.logs.values():
                log += shift

    @torch.no_grad()
    def compare(self) -> bool:
        """Keep the state if it is the best so far; returns whether it is."""
        # Copy them, since training goes on to change these.
        neurons = moved(self.neurons.values(), self.device, copy=True)
        state = self._state(neurons)
        self.goal_of_batches *= self.goal / max(state.operations, self.goal / 2)
        better = self._score(state) < self._score(self.best)
        if better:
            self.best = state
        return better

    def _score(self, state: State) -> float:
        """The error that the state would have at the goal, to which `result` scales it."""
        return state.error + self.elasticity * math.log(max(state.operations, 1e-9) / self.goal)

    @torch.no_grad()
    def _state(self, neurons: NeuronParameters) -> State:
        """A state with its figures on the validation pictures."""
        errors: list[Tensor] = []
        spent: list[Tensor] = []
        for x, expected in zip(self.validation, self.answers, strict=True):
            outputs, operations = self.network(x, neurons)
            errors += [answer_error(outputs, expected, self.spec, self.plan.shares)] * len(x)
            spent.append(operations)
        error, operations = torch.stack(errors).mean(), torch.cat(spent).mean()
        return State(neurons, error.item(), operations.item())

    @torch.no_grad()
    def result(self) -> State:
        """The best state, with thetas scaled so that it takes the operations of the goal."""
        if self.best is self.start:
            return self.start
        best = self.best.neurons
        scaled = differentiable.scaled_to(self.goal, self.network, best, self.validation)
        return min(self.start, self._state(scaled), key=self._score)


def shown(state: State) -> str:
    """The figures of a state; its error is a mean of relative ones."""
    return f"error {math.exp(state.error):.3g} at {state.operations:.3g} operations per MAC"


class Repeated:
    """Batches of images that lie in memory, in a new order whenever all were used.

    Args:
        images: Batches, [N, C, H, W], all but the last of the same size.
        size: Images of a new batch, at most.
    """

    def __init__(self, images: Sequence[Tensor], size: int):
        self.images = images
        self.count = sum(map(len, images))
        self.size = min(size, self.count)

    def __call__(self, number: int) -> Tensor:
        """Batch `number`, [N, C, H, W]; equal for equal numbers."""
        at_once = len(self.images[0])
        chosen: list[Tensor] = []
        for k in range(number * self.size, (number + 1) * self.size):
            generator = torch.Generator().manual_seed(k // self.count)
            image = int(torch.randperm(self.count, generator=generator)[k % self.count])
            chosen.append(self.images[image // at_once][image % at_once])
        return torch.stack(chosen)


class TrainableNeurons:
    """The parameters that are trained, in units that one learning rate suits: [C] each, by node.

    logs: log theta. initial, bias, rest: in thetas. output: the bias of an output that no neurons
    make, in twentieths of its root mean square.
    """

    def __init__(self, network: CompleteNetwork, start: NeuronParameters, answer: Sequence[Tensor]):
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
        for name, y in zip(network.graph.outputs, answer, strict=True):
            if name not in sites:
                self.scales[name] = y.square().mean().sqrt() / 20
                bias = start.get(name, {}).get("bias", y.new_zeros(y.shape[1]))
                self.output[name] = bias / self.scales[name]
        for tensor in self.tensors():
            tensor.requires_grad_()

    def tensors(self) -> list[Tensor]:
        """All parameters that are trained, log theta first."""
        tensors: list[Tensor] = []
        for group in (self.logs, self.initial, self.bias, self.output, self.rest):
            tensors += group.values()
        return tensors

    def values(self) -> dict[str, dict[str, Tensor]]:
        """The parameters of the neurons, and the biases of the outputs."""
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
        return values


def answer_error(outputs: Outputs, expected: Outputs, spec: Spec, shares: Shares) -> Tensor:
    """The loss: log of a weighted geometric mean of the errors of outputs, scores and boxes.

    They are the relative error of the outputs, the root of the divergence of the scores, which is
    quadratic in small errors, and the displacement of the boxes.
    """
    distance = mean_relative_error(outputs, expected).clamp(min=EPSILON).log()
    if spec.task == "classify":
        of_scores = class_divergence(outputs[0], expected[0]).clamp(min=EPSILON**2).log() / 2
        return distance * shares.outputs + of_scores * shares.scores
    boxes, scores = decode(outputs, spec)
    ann_boxes, ann_scores = decode(expected, spec)
    of_scores = divergence(scores, ann_scores).clamp(min=EPSILON**2).log() / 2
    error = distance * shares.outputs + of_scores * shares.scores
    if shares.boxes:
        moved = displacement(boxes, ann_boxes, ann_scores**shares.power)
        error = error + moved.clamp(min=EPSILON).log() * shares.boxes
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
    p = expected.clamp(EPSILON, 1 - EPSILON)
    q = scores.clamp(EPSILON, 1 - EPSILON)
    return (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).flatten(1).sum(1).mean()


def displacement(boxes: Tensor, expected: Tensor, weights: Tensor) -> Tensor:
    """1 - GIoU (Rezatofighi 2019) of each box and the ANN's: mean weighted by the best weight in
    each place.

    boxes: [N, K, 4], xyxy as fractions of the input. weights: [N, K, C], such as the ANN's scores.
    """
    # `detections` clips boxes in the same way.
    loss = generalized_box_iou_loss(boxes.clamp(-1, 2), expected.clamp(-1, 2))
    weight = weights.amax(2)
    return (weight * loss).sum() / weight.sum()


def moved(neurons: NeuronParameters, device: torch.device, copy: bool = False) -> NeuronParameters:
    """The parameters on a device. copy: in memory of their own."""
    result: dict[str, dict[str, Tensor]] = {}
    for name, own in neurons.items():
        result[name] = {key: value.to(device, copy=copy) for key, value in own.items()}
    return result
