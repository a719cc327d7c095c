"""Recipes that run the network on calibration images.

They balance thresholds, correct errors and choose gains. Every step takes and returns the
parameters of the neurons. Layers are treated in order, each with the layers before it spiking as
they will, on the part of the graph that ends at the layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.convert.output_error import Job, best_gain, with_gain
from spiking_yolo.convert.statistics import Statistics
from spiking_yolo.convert.thresholds import NeuronParameters, at_most, base_parameters
from spiking_yolo.convert.train_thresholds import by_gradient
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node, forward
from spiking_yolo.io.assets import command
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import Readout, Recipe
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.neurons import NeuronLayer


@torch.no_grad()
def calibrate(
    graph: Graph,
    spec: Spec,
    statistics: Statistics,
    recipe: Recipe,
    images: Sequence[Tensor],
    progress: Callable[..., Any] = lambda text, done=0, total=0: None,
) -> NeuronParameters:
    """The parameters of the neurons that a recipe learns by running the network.

    Args:
        recipe: One that `runs_network`.
        images: Batches, [N, C, H, W].
        progress: Called as the progress of a Job.

    Raises:
        UserError: The recipe is one for `tune`.
    """
    if recipe.calibration.kind == "tuned":
        raise UserError(f"{recipe.label} is tuned: use `{command('calibrate')} --tune`")
    neurons = base_parameters(graph, statistics.histograms, recipe)
    # One state serves every readout.
    job = Job(graph, spec, replace(recipe, readout=Readout()), images, progress)
    if recipe.chooses_gain:
        # Until thresholds are known.
        neurons = with_gain(neurons, 1.0)
    if recipe.threshold.rule == "balance":
        neurons = balance(job, neurons)
    if recipe.by_gradient:
        neurons = by_gradient(job, neurons)
    if recipe.chooses_gain:
        neurons = best_gain(job, neurons)
    if recipe.calibration.kind in ("light", "advanced"):
        neurons = correct(job, neurons)
    return neurons


def balance(job: Job, neurons: NeuronParameters) -> NeuronParameters:
    """Threshold balancing (Sengupta 2019, section 3.1).

    theta is the largest current that the layer receives while the layers before it spike.
    """
    balanced = dict(neurons)
    for node in job.graph.activations:
        job.progress(f"balance {node.name}")
        network = SpikingNetwork(job.graph.up_to(node.name), balanced, job.recipe, observed=True)
        highest, lowest = _extreme_currents(network, node.name, job)
        parameters = {**balanced[node.name], "theta": _balanced(highest, job.recipe, node)}
        if "theta_off" in parameters:
            parameters["theta_off"] = _balanced(-lowest, job.recipe, node)
        balanced[node.name] = parameters
    return balanced


def _extreme_currents(network: SpikingNetwork, layer: str, job: Job) -> tuple[Tensor, Tensor]:
    """The largest current above and below zero that a layer receives, [C] each."""
    highest = lowest = torch.zeros(())

    def watch(name: str, t: int, neurons: NeuronLayer, current: Tensor | None) -> None:
        nonlocal highest, lowest
        if name == layer and current is not None:
            flat = current.transpose(0, 1).flatten(1).float()
            highest = torch.maximum(highest, flat.amax(1))
            lowest = torch.minimum(lowest, flat.amin(1))

    for x in job.images:
        network.run(x, job.recipe.calibration.T, probes=[watch])
    return highest, lowest


def _balanced(largest: Tensor, recipe: Recipe, node: Node) -> Tensor:
    """Theta from the largest currents [C], times the scale, bounded by the activation's cap."""
    top = largest.max()
    if recipe.threshold.scope == "layer":
        largest = top.expand(len(largest))
    filled = torch.where(largest > 0, largest, top if top > 0 else 1.0)
    return at_most(filled * recipe.threshold.scale, node.phi.cap).contiguous()


def correct(job: Job, neurons: NeuronParameters) -> NeuronParameters:
    """Layer-wise correction (Li 2021, section 4), per channel, and of the head's bias.

    light: bias -= mean(SNN rate - ANN activation). advanced: initial potential += T * mean(ANN -
    SNN), here the mean over positions too: the paper keeps one value per neuron, which an image of
    other content cannot use.
    """
    graph, recipe, corrected = job.graph, job.recipe, dict(neurons)
    T = recipe.calibration.T
    # Differential coding sends a value once, and not its T-th part in each of T steps.
    steps = 1 if recipe.differential else T
    heads = [graph[name] for name in graph.outputs if graph[name].op != "activation"]
    for node in (*graph.activations, *heads):
        job.progress(f"correct {node.name}")
        part = graph.up_to(node.name)
        network = SpikingNetwork(part, corrected, recipe)
        excess = torch.cat([_excess(network, part, x, T) for x in job.images]).mean(0)
        parameters = dict(corrected.get(node.name, {}))
        if recipe.calibration.kind == "light" or node.op != "activation":
            parameters["bias"] = -excess
        else:
            shift = -excess * steps
            parameters["initial"] = recipe.neuron.initial + shift / parameters["theta"]
            if "theta_off" in parameters:
                off = shift / parameters["theta_off"]
                parameters["initial_off"] = recipe.neuron.initial - off
        corrected[node.name] = parameters
    return corrected


def _excess(network: SpikingNetwork, part: Graph, x: Tensor, T: int) -> Tensor:
    """mean(SNN - ANN) of the part's output per image and channel, [N, C]."""
    difference = network.run(x, T).snapshots[T].outputs[0] - forward(part, x)[0]
    return difference.flatten(2).mean(2) if difference.ndim > 2 else difference
