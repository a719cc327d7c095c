"""Recipes that run the network on calibration images.

They balance thresholds, correct errors, choose fractions and gains, and measure the confidence.
Every step takes and returns the parameters of the neurons. Layers are treated in order, each with
the layers before it spiking as they will, on the part of the graph that ends at the layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.convert.adaptive_bursts import adapt_bursts
from spiking_yolo.convert.output_error import Job, best_fraction, best_gain, with_gain
from spiking_yolo.convert.statistics import Statistics
from spiking_yolo.convert.thresholds import NeuronParameters, at_most, base_parameters, layer_factor
from spiking_yolo.convert.train_thresholds import by_gradient
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node, forward
from spiking_yolo.io.assets import command
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import Readout, Recipe
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.neurons import CONFIDENCE_STEPS, NeuronLayer


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
    if recipe.calibration.tunes:
        raise UserError(f"method {recipe.name} is tuned: use `{command('tune')}`")
    neurons = base_parameters(graph, statistics.histograms, recipe)
    # One state serves every readout, and no spike is dropped until the confidence is known.
    plain = replace(recipe, readout=Readout(), msat=replace(recipe.msat, confidence="off"))
    job = Job(graph, spec, plain, images, progress)
    chooses_gain = recipe.msat.enabled and not recipe.msat.gain
    if chooses_gain:
        # Until thresholds are known.
        neurons = with_gain(neurons, 1.0)
    if recipe.threshold.rule == "balance":
        neurons = balance(job, neurons)
    if recipe.by_gradient:
        neurons = by_gradient(job, neurons)
    if recipe.calibration.kind == "fraction":
        neurons = best_fraction(job, neurons)
    if recipe.calibration.kind == "bursts":
        neurons = adapt_bursts(job, neurons, statistics.histograms)
    if chooses_gain:
        neurons = best_gain(job, neurons)
    if recipe.calibration.kind in ("light", "advanced"):
        neurons = correct(job, neurons)
    if recipe.msat.confidence != "off":
        neurons = spike_confidence(job, neurons)
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
    scale = recipe.threshold.scale * layer_factor(recipe, node.name)
    return at_most(filled * scale, node.phi.cap).contiguous()


def correct(job: Job, neurons: NeuronParameters) -> NeuronParameters:
    """Layer-wise correction (Li 2021, section 4), per channel, and of the head's bias.

    light: bias -= mean(SNN rate - ANN activation). advanced: initial potential += T * mean(ANN -
    SNN), here the mean over positions too: the paper keeps one value per neuron, which an image of
    other content cannot use.
    """
    graph, recipe, corrected = job.graph, job.recipe, dict(neurons)
    T = recipe.calibration.T
    # Differential coding sends a value once, and not its T-th part in each of T steps.
    steps = 1 if recipe.encoding.coding == "differential" else T
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


def spike_confidence(job: Job, neurons: NeuronParameters) -> NeuronParameters:
    """MSAT's spike confidence of each layer.

    It is the share of the neurons that fired in the first 16 steps and should have: an ON neuron
    where the ANN's pre-activation is positive, an OFF neuron where it is negative. 1 where nothing
    fired, and with msat.unsure=last in all layers but the last.

    Args:
        job: With a recipe whose confidence is off, so that nothing is dropped anywhere.
    """
    job.progress("spike confidence")
    network = SpikingNetwork(job.graph, neurons, job.recipe, observed=True)
    right = dict.fromkeys(network.neurons, 0)
    fired = dict.fromkeys(network.neurons, 0)
    drives: dict[str, Tensor] = {}
    for x in job.images:
        forward(job.graph, x, lambda node, pre, post: drives.update({node.name: pre}))
        network.run(x, CONFIDENCE_STEPS)
        for name, layer in network.layers():
            for side in layer.sides:
                has_fired = side.count > 0
                fired[name] += int(has_fired.sum())
                right[name] += int((has_fired & (side.sign * drives[name] > 0)).sum())
    result = dict(neurons)
    unsure = fired if job.recipe.msat.unsure == "all" else job.graph.last_activations()
    for name in fired:
        confidence = 1.0
        if name in unsure and fired[name]:
            confidence = right[name] / fired[name]
        result[name] = {**neurons[name], "confidence": torch.tensor(confidence)}
    return result
