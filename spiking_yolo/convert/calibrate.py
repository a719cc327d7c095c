"""Recipes that run the network on calibration images: balanced thresholds, corrections, fractions,
gains, confidence.

Every step takes and returns the parameters of the neurons. Layers are treated in order, each with
the layers before it spiking as they will, on the part of the graph that ends at the layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.convert.output_error import Job, best_fraction, best_gain, with_gain
from spiking_yolo.convert.statistics import Statistics
from spiking_yolo.convert.thresholds import NeuronParameters, at_most, base_parameters, layer_factor
from spiking_yolo.convert.train_thresholds import by_gradient
from spiking_yolo.graph import Graph, Node, forward
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
    progress: Callable[[str], Any] = lambda text: None,
) -> NeuronParameters:
    """Parameters of the neurons by a recipe with `runs_network`; images, progress: see Job."""
    neurons = base_parameters(graph, statistics.histograms, recipe)
    # One state serves every readout, and no spike is dropped until the confidence is known.
    plain = replace(recipe, readout=Readout(), msat=replace(recipe.msat, confidence="off"))
    job = Job(graph, spec, plain, images, progress)
    chooses_gain = recipe.msat.enabled and not recipe.msat.gain
    if chooses_gain:
        neurons = with_gain(neurons, 1.0)  # until thresholds are known
    if recipe.threshold.rule == "balance":
        neurons = balance(job, neurons)
    if recipe.by_gradient:
        neurons = by_gradient(job, neurons)
    if recipe.calibration.kind == "fraction":
        neurons = best_fraction(job, neurons)
    if chooses_gain:
        neurons = best_gain(job, neurons)
    if recipe.calibration.kind in ("light", "advanced"):
        neurons = correct(job, neurons)
    if recipe.msat.confidence != "off":
        neurons = spike_confidence(job, neurons)
    return neurons


def balance(job: Job, neurons: NeuronParameters) -> NeuronParameters:
    """Threshold balancing (Sengupta 2019, section 3.1): theta is the largest current that the layer
    receives.
    """
    balanced = dict(neurons)
    for node in job.graph.activations:
        job.progress(f"balance {node.name}")
        network = SpikingNetwork(job.graph.up_to(node.name), balanced, job.recipe, observed=True)
        highest, lowest = _extreme_currents(network, node.name, job)
        own = {**balanced[node.name], "theta": _balanced(highest, job.recipe, node)}
        if "theta_off" in own:
            own["theta_off"] = _balanced(-lowest, job.recipe, node)
        balanced[node.name] = own
    return balanced


def _extreme_currents(network: SpikingNetwork, wanted: str, job: Job) -> tuple[Tensor, Tensor]:
    """The largest current above and below zero that a layer receives, [C] each."""
    highest = lowest = torch.zeros(())

    def watch(name: str, t: int, layer: NeuronLayer, current: Tensor | None) -> None:
        nonlocal highest, lowest
        if name == wanted and current is not None:
            flat = current.transpose(0, 1).flatten(1).float()
            highest, lowest = (
                torch.maximum(highest, flat.amax(1)),
                torch.minimum(lowest, flat.amin(1)),
            )

    for x in job.images:
        network.run(x, job.recipe.calibration.T, probes=[watch])
    return highest, lowest


def _balanced(largest: Tensor, recipe: Recipe, node: Node) -> Tensor:
    """Theta from the largest currents [C]: their statistic times the scale, bounded by the cap of
    the activation.
    """
    top = largest.max()
    if recipe.threshold.scope == "layer":
        largest = top.expand(len(largest))
    scale = recipe.threshold.scale * layer_factor(recipe, node.name)
    return at_most(
        torch.where(largest > 0, largest, top if top > 0 else 1.0) * scale, node.phi.cap
    ).contiguous()


def correct(job: Job, neurons: NeuronParameters) -> NeuronParameters:
    """Layer-wise correction (Li 2021, section 4), per channel, and of the head's bias.

    light: bias -= mean(SNN rate - ANN activation). advanced: initial potential += T * mean(ANN -
    SNN), here the mean over positions too: the paper keeps one value per neuron, which an image of
    other content cannot use.
    """
    graph, recipe, corrected = job.graph, job.recipe, dict(neurons)
    # Differential coding sends a value once, and not its T-th part in each of T steps.
    steps = 1 if recipe.encoding.coding == "differential" else recipe.calibration.T
    heads = [graph[name] for name in graph.outputs if graph[name].op != "activation"]
    for node in (*graph.activations, *heads):
        job.progress(f"correct {node.name}")
        part = graph.up_to(node.name)
        network = SpikingNetwork(part, corrected, recipe)
        excess = torch.cat(
            [_excess(network, part, x, recipe.calibration.T) for x in job.images]
        ).mean(0)
        own = dict(corrected.get(node.name, {}))
        if recipe.calibration.kind == "light" or node.op != "activation":
            own["bias"] = -excess
        else:
            shift = -excess * steps
            own["initial"] = recipe.neuron.initial + shift / own["theta"]
            if "theta_off" in own:
                own["initial_off"] = recipe.neuron.initial - shift / own["theta_off"]
        corrected[node.name] = own
    return corrected


def _excess(network: SpikingNetwork, part: Graph, x: Tensor, T: int) -> Tensor:
    """mean(SNN - ANN) of the part's output per image and channel, [N, C]."""
    difference = network.run(x, T).snapshots[T].outputs[0] - forward(part, x)[0]
    return difference.flatten(2).mean(2) if difference.ndim > 2 else difference


def spike_confidence(job: Job, neurons: NeuronParameters) -> NeuronParameters:
    """MSAT's spike confidence per layer: of the neurons that fired in the first 16 steps, the share
    that should have.

    job.recipe: with the confidence off, so that nothing is dropped anywhere. An ON neuron should
    fire where the ANN's pre-activation is positive, an OFF neuron where it is negative. 1 where
    nothing fired, and with msat.unsure=last in all layers but the last.
    """
    job.progress("spike confidence")
    network = SpikingNetwork(job.graph, neurons, job.recipe, observed=True)
    right, fired = dict.fromkeys(network.neurons, 0), dict.fromkeys(network.neurons, 0)
    drives: dict[str, Tensor] = {}
    for x in job.images:
        forward(job.graph, x, lambda node, pre, post: drives.update({node.name: pre}))
        network.run(x, CONFIDENCE_STEPS)
        for name, layer in network.layers():
            for side in layer.sides:
                spoke, drive = side.count > 0, side.sign * drives[name]
                fired[name] += int(spoke.sum())
                right[name] += int((spoke & (drive > 0)).sum())
    unsure = fired if job.recipe.msat.unsure == "all" else job.graph.last_activations()
    confidence = {
        n: torch.tensor(right[n] / fired[n] if n in unsure and fired[n] else 1.0) for n in fired
    }
    return {
        name: {**own, "confidence": confidence[name]} if name in confidence else own
        for name, own in neurons.items()
    }
