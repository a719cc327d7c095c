"""Numbers of a recipe that are chosen by the error of the network's output on calibration
images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.convert.thresholds import NeuronParameters
from spiking_yolo.graph import Graph
from spiking_yolo.models.spec import Spec
from spiking_yolo.observe import Input, Observer
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.network import SpikingNetwork

# Above 4 the thresholds of Eq. 17 collapse.
GAINS = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
NEAR, WORTH = 0.03, 0.005
# Of a layer's gain, beside the one for all.
STEPS = (0.8, 1.25)


@dataclass(frozen=True)
class Job:
    """A network to calibrate.

    Attributes:
        images: Batches, [N, C, H, W].
        progress: progress(text) is called before each part of the work, progress(text, done, total)
            during one of known length.
    """

    graph: Graph
    spec: Spec
    recipe: Recipe
    images: Sequence[Tensor]
    progress: Callable[..., Any]


def best_gain(job: Job, neurons: NeuronParameters) -> NeuronParameters:
    """msat.gain of every layer, by the relative error of the output after T.

    First one for all: of GAINS the smallest whose error is within NEAR of the smallest error, since
    a larger gain sends more spikes. Then, layer after layer, a smaller or a larger one where that
    lowers the error by more than WORTH.
    """
    error = _judge(job)
    errors = {k: error(with_gain(neurons, k), f"gain {k:g}") for k in GAINS}
    k = next(k for k in GAINS if errors[k] <= (1 + NEAR) * min(errors.values()))
    best, chosen = errors[k], with_gain(neurons, k)
    for node in job.graph.activations:
        for factor in STEPS:
            own = {**chosen[node.name], "gain": torch.tensor(k * factor)}
            trial = {**chosen, node.name: own}
            trial_error = error(trial, f"gain {k * factor:g} of {node.name}")
            if trial_error < (1 - WORTH) * best:
                best = trial_error
                chosen = trial
                break
    return chosen


def with_gain(neurons: NeuronParameters, k: float) -> NeuronParameters:
    """The same gain for every layer."""
    return {name: {**own, "gain": torch.tensor(k)} for name, own in neurons.items()}


def _judge(job: Job) -> Callable[[NeuronParameters, str], float]:
    """A function of parameters and of what to call them.

    It returns the relative error of the outputs after T, summed over the images.
    """
    T = job.recipe.calibration.T

    def error(neurons: NeuronParameters, title: str) -> float:
        job.progress(title)
        network = SpikingNetwork(job.graph, neurons, job.recipe)
        observer = Observer(network, job.graph, job.spec)
        total = 0.0
        for x in job.images:
            for seen in observer.observe(map(Input, x), T, want=("ann",), batch=len(x)):
                total += seen.error(T)
        return total

    return error
