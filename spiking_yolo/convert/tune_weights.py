"""Training of the weights together with the neurons, without labels.

The spiking network learns to answer as the ANN does, on pictures that nobody has annotated, with
the operations of the goal. Rounding passes gradients on (the straight-through estimator, see
differentiable.py), as in quantisation-aware distillation (Polino et al. 2018). Kernels are rounded
to 8 bits throughout, as a chip holds them.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.convert.differentiable import CompleteNetwork, Values, VideoNetwork
from spiking_yolo.convert.thresholds import NeuronParameters
from spiking_yolo.convert.train_thresholds import (
    FINEST,
    GAIN,
    START,
    TOLERANCE,
    TrainableNeurons,
    budget,
    class_divergence,
    displacement,
    divergence,
    mean_relative_error,
    scaled_to,
)
from spiking_yolo.convert.weight_bits import STORED_BITS, rounded_weights
from spiking_yolo.decode.boxes import decode
from spiking_yolo.errors import Notice
from spiking_yolo.graph import Graph, forward
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.layout import channels_last

# Learning rates of log theta, and of what is counted in thetas.
NEURON_RATES = (0.01, 0.006)
# Of kernels, in units of the root mean square of an output channel.
KERNEL_RATE = 1e-3
# Share of the steps in which the learning rate rises.
WARMUP = 0.03
# Percent of the error that a percent of operations is worth, where states are compared, of pictures
# and of later frames.
ELASTICITY, LATER_ELASTICITY = 1.3, 0.6
# Steps between comparisons of the state on held-back pictures.
EVERY = 100
# No network was ever tuned to fewer operations per MAC with a result that was of use.
LOWEST = 0.2
# Smallest loss of each kind that is told from 0.
LEAST = 1e-6

Row = dict[str, float]


def answer_error(outputs: Sequence[Tensor], expected: Sequence[Tensor], spec: Spec) -> Tensor:
    """The loss: log of a weighted geometric mean of the errors of outputs, scores and boxes.

    Unlike `train_thresholds.error`, boxes count for every detector: weights that move can give up
    what no score needs.
    """
    distance = mean_relative_error(outputs, expected).clamp(min=LEAST).log()
    if spec.task == "classify":
        scores = class_divergence(outputs[0], expected[0])
        return distance / 4 + scores.clamp(min=LEAST**2).log() * 3 / 8
    boxes, scores = decode(outputs, spec)
    ann_boxes, ann_scores = decode(expected, spec)
    of_scores = divergence(scores, ann_scores).clamp(min=LEAST**2).log() / 2
    of_boxes = displacement(boxes, ann_boxes, ann_scores).clamp(min=LEAST).log()
    return distance / 5 + of_scores * 3 / 5 + of_boxes / 5


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

    def values(self, thetas: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All tensors of the graph, with kernels of 8 bits; rounding passes gradients on.

        thetas: Activation -> [C], which a chip folds into the kernels that receive it.
        """
        tensors = dict(self.graph.tensors)
        for name, change in self.changes.items():
            tensors[name] = tensors[name] + self.scales[name] * change
        with torch.no_grad():
            kernels = {name: tensors[name] for name in self.changes}
            rounded = rounded_weights(self.graph, kernels, STORED_BITS, thetas)
        for name in self.changes:
            tensors[name] = tensors[name] + (rounded[name] - tensors[name]).detach()
        return tensors


@dataclass(frozen=True)
class Tuned:
    """What tuning has learned.

    Attributes:
        neurons: Parameters of every layer of neurons.
        weights: The kernels of the graph that were tuned, float32 on the grid of 8 bits.
        error: `answer_error` on held-back pictures.
        operations: Per MAC of the ANN, their mean there.
        step: Of the state.
    """

    neurons: NeuronParameters
    weights: Mapping[str, Tensor]
    error: float
    operations: float
    step: int


class Tuning:
    """One run of tuning: what is trained, how far it is, and the best state so far.

    Args:
        ann: The network to imitate.
        spec: Its interface.
        recipe: Whose calibration gives goal and steps, and whether weights move.
        start: Parameters of the neurons to start from, scaled to the goal.
        held_back: Batches of pictures, or of clips [N, K, C, H, W] where the recipe trains on them,
            that are not trained on, and on which states are compared.
        device: To train on.

    Attributes:
        steps: Number of steps that are done.
        rows: Figures, means of EVERY steps each.
        best: The best state so far; None before the first comparison.
    """

    def __init__(
        self,
        ann: Graph,
        spec: Spec,
        recipe: Recipe,
        start: NeuronParameters,
        held_back: Sequence[Tensor],
        device: torch.device | str = "cpu",
    ):
        self.device = torch.device(device)
        self.ann = ann.to(device)
        self.spec = spec
        self.calibration = recipe.calibration
        self.goal = budget(ann, recipe.calibration.operations)
        self.held_back = [x.to(device) for x in held_back]
        self.answers = [self._answer(x) for x in self.held_back]
        values = on_device(start, self.device)
        self.network = self._network(recipe, values)
        values = scaled_to(self.goal, self.network, values, self.held_back)
        self.neurons = TrainableNeurons(self.network, values, self.answers[0])
        self.kernels = TrainableKernels(self.network.graph) if self.calibration.weights else None
        self.adam = torch.optim.Adam(self._groups(), betas=(0.9, 0.99))
        self.rates = [group["lr"] for group in self.adam.param_groups]
        self.multiplier = START
        self.steps = 0
        self.rows: list[Row] = []
        self.best: Tuned | None = None
        self._sums: Row = {}

    def _network(self, recipe: Recipe, start: Values) -> CompleteNetwork:
        least = {name: own["theta"] / FINEST for name, own in start.items() if "theta" in own}
        size = (self.spec.height, self.spec.width)
        neuron = recipe.neuron
        how = neuron.slack, least
        network = CompleteNetwork(self.ann, size, *how)
        if self.calibration.frames > 1:
            network = VideoNetwork(self.ann, size, *how, neuron.hysteresis)
        network.costs = {name: cost.to(self.device) for name, cost in network.costs.items()}
        return network

    def _groups(self) -> list[dict[str, Any]]:
        tensors = self.neurons.tensors()
        thetas = len(self.neurons.logs)
        of_theta, of_others = NEURON_RATES
        groups: list[dict[str, Any]] = [
            {"params": tensors[:thetas], "lr": of_theta},
            {"params": tensors[thetas:], "lr": of_others},
        ]
        if self.kernels is not None:
            groups.append({"params": list(self.kernels.changes.values()), "lr": KERNEL_RATE})
        return groups

    def _answer(self, x: Tensor) -> list[Tensor]:
        if self.calibration.frames > 1:
            x = x[:, -1]
        with torch.no_grad():
            return list(forward(self.ann, channels_last(x)))

    def _state(self) -> tuple[Values, Mapping[str, Tensor]]:
        """The values of the neurons, and all tensors of the graph."""
        values = self.neurons.values()
        if self.kernels is None:
            return values, self.network.graph.tensors
        thetas = {name: values[name]["theta"].detach() for name in self.network.sites}
        return values, self.kernels.values(thetas)

    def step(self, x: Tensor) -> None:
        """Train on pictures [N, C, H, W], or on clips [N, K, C, H, W].

        Raises:
            FloatingPointError: The loss is not finite.
        """
        self._set_rates()
        expected = self._answer(x)
        values, tensors = self._state()
        outputs, spent = self.network.with_tensors(tensors)(x, values)
        ratio = spent.mean() / self.goal
        error = answer_error(outputs, expected, self.spec)
        loss = error + self.multiplier * ratio**4 / 4
        if not torch.isfinite(loss):
            raise FloatingPointError
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self.multiplier *= max(ratio.item(), 0.5) ** GAIN
        self.steps += 1
        self._record(operations=spent.mean().item(), error=error.item())

    def _set_rates(self) -> None:
        """Learning rates of this step: a linear rise, then half a cosine down to 3 %."""
        done = self.steps / self.calibration.steps
        factor = 0.03 + 0.97 * (1 + math.cos(math.pi * done)) / 2
        factor *= min(1.0, (done + 1 / self.calibration.steps) / WARMUP)
        for group, rate in zip(self.adam.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def _record(self, **figures: float) -> None:
        """Add the figures of a step; after EVERY steps they become a row."""
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        last = self.steps == self.calibration.steps
        if self.steps % EVERY and not last:
            return
        count = (self.steps - 1) % EVERY + 1
        row = {"step": float(self.steps)}
        row |= {name: value / count for name, value in self._sums.items()}
        self._sums = {}
        row |= self._compared()
        self.rows.append(row)

    def _compared(self) -> Row:
        """Figures of the state on held-back pictures; it is kept if it is the best so far."""
        values, tensors = self._state()
        error, operations = self._measured(values, tensors)
        if self.best is None or self._score(error, operations) < self._score(
            self.best.error, self.best.operations
        ):
            names = () if self.kernels is None else self.kernels.changes
            weights = {name: tensors[name].detach().clone() for name in names}
            neurons = self.neurons.values(detach=True)
            self.best = Tuned(copied(neurons), weights, error, operations, self.steps)
        return {"held_back_error": error, "held_back_operations": operations}

    def _score(self, error: float, operations: float) -> float:
        """The error that the state would have at the goal, to which `result` scales it."""
        elasticity = ELASTICITY if self.calibration.frames == 1 else LATER_ELASTICITY
        return error + elasticity * math.log(operations / self.goal)

    @torch.no_grad()
    def _measured(self, values: Values, tensors: Mapping[str, Tensor]) -> tuple[float, float]:
        """Error and operations on the held-back pictures."""
        network = self.network.with_tensors(tensors)
        errors: list[Tensor] = []
        spent: list[Tensor] = []
        for x, expected in zip(self.held_back, self.answers, strict=True):
            outputs, operations = network(x, values)
            errors += [answer_error(outputs, expected, self.spec)] * len(x)
            spent.append(operations)
        return torch.stack(errors).mean().item(), torch.cat(spent).mean().item()

    @torch.no_grad()
    def result(self) -> Tuned:
        """The best state, with thetas scaled so that it takes the operations of the goal.

        A Notice says where the network cannot take so few.
        """
        best = self.best
        assert best is not None
        network = self.network.with_tensors({**self.network.graph.tensors, **best.weights})
        values = scaled_to(self.goal, network, best.neurons, self.held_back)
        error, operations = self._measured(values, network.graph.tensors)
        if operations > self.goal * (1 + 2 * TOLERANCE):
            warnings.warn(
                Notice(
                    f"the goal of {self.goal:g} operations per MAC was not reached, but"
                    f" {operations:.3g}: set more calibration.steps, or more calibration.operations"
                ),
                stacklevel=2,
            )
        return Tuned(values, best.weights, error, operations, best.step)

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, as plain tensors and numbers."""
        state: dict[str, Any] = {
            "trained": [p.detach() for group in self.adam.param_groups for p in group["params"]],
            "adam": self.adam.state_dict(),
            "best": None if self.best is None else vars(self.best),
        }
        for name in ("multiplier", "steps", "rows", "_sums"):
            state[name] = getattr(self, name)
        return state

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned for a tuning of the same arguments."""
        parameters = [p for group in self.adam.param_groups for p in group["params"]]
        for parameter, value in zip(parameters, state["trained"], strict=True):
            parameter.copy_(value)
        self.adam.load_state_dict(state["adam"])
        for name in ("multiplier", "steps", "rows", "_sums"):
            setattr(self, name, state[name])
        self.best = None if state["best"] is None else Tuned(**state["best"])


def copied(neurons: NeuronParameters) -> NeuronParameters:
    """The parameters, without memory that training goes on to change."""
    return {
        name: {key: value.clone() for key, value in own.items()} for name, own in neurons.items()
    }


def on_device(neurons: NeuronParameters, device: torch.device) -> NeuronParameters:
    """The parameters on another device."""
    return {
        name: {key: value.to(device) for key, value in own.items()} for name, own in neurons.items()
    }
