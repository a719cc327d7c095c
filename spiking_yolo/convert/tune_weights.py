"""Tuning: longer training of the neurons, and if wanted of the weights, on pictures that nobody has
annotated; states are compared on validation pictures.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.convert.differentiable import CompleteNetwork, Values, VideoNetwork
from spiking_yolo.convert.sensitivity import TOLERANCE, budget, scaled_to
from spiking_yolo.convert.thresholds import NeuronParameters
from spiking_yolo.convert.training import (
    OF_CLASSES,
    Plan,
    Shares,
    TrainableKernels,
    Training,
    answer_error,
)
from spiking_yolo.errors import Notice
from spiking_yolo.graph import Graph, forward
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.layout import channels_last

# Learning rates of log theta, and of what is counted in thetas.
RATES = (0.01, 0.006)
# Boxes count for every detector: weights that move can give up what no score needs.
OF_BOXES = Shares(1 / 5, 3 / 5, 1 / 5)
# Percent of the error that a percent of operations is worth, where states are compared, of pictures
# and of later frames.
ELASTICITY, LATER_ELASTICITY = 1.3, 0.6
# Steps between comparisons of the state on validation pictures.
EVERY = 100
# No network was ever tuned to fewer operations per MAC with a result that was of use.
LOWEST = 0.2

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
        plan = Plan(self.goal, calibration.steps, shares, RATES, beta=0.99, last=0.03, warmup=0.03)
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
