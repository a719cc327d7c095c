"""The longest burst and the threshold of every layer, by how much the output minds (AdaFire).

Wang, Fang, Cao, Ren, Xu: Adaptive calibration, a unified conversion framework of spiking neural
networks, AAAI 2025 (arXiv 2412.16219). Sensitivities are measured for one layer at a time and are
taken to add up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import torch

from spiking_yolo.convert.output_error import Job
from spiking_yolo.convert.statistics import Histogram
from spiking_yolo.convert.thresholds import NeuronParameters, base_parameters, scaled
from spiking_yolo.graph import forward
from spiking_yolo.observe import relative_error
from spiking_yolo.recipe import Calibration
from spiking_yolo.snn.network import SpikingNetwork

# Longest bursts that are tried, up to neuron.gamma, and factors on theta.
BURSTS = (1, 2, 4, 8, 16)
FACTORS = (1.0, 1.5, 2.0, 3.0)
# Spikes, of those with bursts of at most half of neuron.gamma everywhere.
BUDGET = 0.95
# By how much higher thresholds may raise the sum of the errors.
TOLERANCE = 0.05


class Trial(NamedTuple):
    """What one layer does with another value: its spikes, and the error of the network's output."""

    spikes: float
    error: float


def adapt_bursts(
    job: Job, neurons: NeuronParameters, histograms: Mapping[str, Histogram]
) -> NeuronParameters:
    """The parameters with "gamma", the longest burst, in each layer, and other thresholds.

    First the longest bursts with the smallest sum of errors within BUDGET of spikes, and the
    thresholds that suit them; then factors on these with the fewest spikes within TOLERANCE of the
    sum of errors ("sensitivity spike compression").
    """
    most = job.recipe.neuron.gamma
    bursts = sorted({*[k for k in BURSTS if k < most], most})

    def with_burst(name: str, k: float) -> NeuronParameters:
        return {**neurons, name: {**neurons[name], "gamma": torch.tensor(float(k))}}

    trials = {
        name: [_tried(job, with_burst(name, k), name, f"bursts of {k}") for k in bursts]
        for name in neurons
    }
    usual = min(range(len(bursts)), key=lambda i: abs(bursts[i] - most / 2))
    budget = BUDGET * sum(of_layer[usual].spikes for of_layer in trials.values())
    chosen = cheapest([[(t.error, t.spikes) for t in ts] for ts in trials.values()], budget)
    result: dict[str, Mapping[str, torch.Tensor]] = {}
    for i in set(chosen):
        neuron = replace(job.recipe.neuron, gamma=bursts[i])
        recipe = replace(job.recipe, neuron=neuron, calibration=Calibration())
        own = base_parameters(job.graph, histograms, recipe)
        for name, choice in zip(trials, chosen, strict=True):
            if choice == i:
                result[name] = {**own[name], "gamma": torch.tensor(float(bursts[i]))}
    return _compressed(job, {name: result[name] for name in neurons})


def _compressed(job: Job, neurons: NeuronParameters) -> NeuronParameters:
    """The parameters with higher thresholds where these save spikes for little."""
    caps = {node.name: node.phi.cap for node in job.graph.activations}

    def times(name: str, factor: float) -> dict[str, torch.Tensor]:
        own = scaled(neurons[name], factor, caps[name])
        if "theta_off" in own:
            own["theta_off"] = own["theta_off"] * factor
        return own

    trials = {
        name: [
            _tried(job, {**neurons, name: times(name, f)}, name, f"theta * {f:g}") for f in FACTORS
        ]
        for name in neurons
    }
    budget = (1 + TOLERANCE) * sum(of_layer[0].error for of_layer in trials.values())
    chosen = cheapest([[(t.spikes, t.error) for t in ts] for ts in trials.values()], budget)
    return {name: times(name, FACTORS[i]) for name, i in zip(trials, chosen, strict=True)}


def cheapest(options: Sequence[Sequence[tuple[float, float]]], budget: float) -> list[int]:
    """One option (value, cost) of each layer: the smallest sum of values within the budget.

    Where no choice is within it, the cheapest. Sums that another one beats in both are dropped,
    layer after layer (the Pareto frontier of the paper).

    Example:
        >>> cheapest([[(5, 1), (1, 3)], [(4, 1), (3, 4)]], budget=4)
        [1, 0]
    """
    frontier: list[tuple[float, float, list[int]]] = [(0.0, 0.0, [])]
    for layer in options:
        sums = [
            (cost + own_cost, value + own_value, [*picks, i])
            for (cost, value, picks), (i, (own_value, own_cost)) in product(
                frontier, enumerate(layer)
            )
        ]
        frontier = []
        for cost, value, picks in sorted(sums):
            if not frontier or value < frontier[-1][1]:
                frontier.append((cost, value, picks))
    # The later ones cost more and are better.
    within = [picks for cost, _, picks in frontier if cost <= budget]
    return within[-1] if within else frontier[0][2]


def _tried(job: Job, neurons: NeuronParameters, layer: str, what: str) -> Trial:
    """A run of the calibration images: spikes of the layer and relative errors of the outputs."""
    job.progress(f"{what} in {layer}")
    T, network = job.recipe.calibration.T, SpikingNetwork(job.graph, neurons, job.recipe)
    spikes = error = 0.0
    for x in job.images:
        last = network.run(x, T).snapshots[T]
        spikes += float(last.spikes[layer].sum())
        error += relative_error(last.outputs, forward(job.graph, x))
    return Trial(spikes, error)
