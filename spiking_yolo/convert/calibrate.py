"""Recipes that run the network on calibration images: balanced thresholds, corrections, fractions, confidence.

Every function takes and returns the parameters of the activation sites. Layers are treated in order, each with the
layers before it spiking as they will, on the part of the graph that ends at the layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.convert.statistics import Statistics
from spiking_yolo.convert.thresholds import Sites, at_most, base_sites, layer_factor
from spiking_yolo.graph import Graph, Node, forward
from spiking_yolo.recipe import Readout, Recipe
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.neurons import CONFIDENCE_STEPS, NeuronLayer

FRACTIONS = tuple(c / 10 for c in range(1, 11))
Progress = Callable[[str], Any]


@torch.no_grad()
def calibrate(
    graph: Graph,
    statistics: Statistics,
    recipe: Recipe,
    images: Sequence[Tensor],
    progress: Progress = lambda text: None,
) -> Sites:
    """Site parameters of a recipe with `runs_network`.

    images: batches of calibration images, [N, C, H, W] each. progress(text) is called before each part of the work.
    """
    sites = base_sites(graph, statistics.histograms, recipe)
    # One state serves every readout, and no spike is dropped until the confidence is known.
    plain = replace(recipe, readout=Readout(), msat=replace(recipe.msat, confidence="off"))
    if recipe.threshold.rule == "balance":
        sites = balance(graph, plain, sites, images, progress)
    if recipe.calibration.kind == "fraction":
        sites = best_fraction(graph, plain, sites, images, progress)
    if recipe.calibration.kind in ("light", "advanced"):
        sites = correct(graph, plain, sites, images, progress)
    if recipe.msat.confidence != "off":
        sites = spike_confidence(graph, plain, sites, images, progress)
    return sites


def balance(graph: Graph, recipe: Recipe, sites: Sites, images: Sequence[Tensor], progress: Progress) -> Sites:
    """Threshold balancing (Sengupta 2019, section 3.1): theta is the largest current that the layer receives."""
    sites = dict(sites)
    for node in graph.activations:
        progress(f"balance {node.name}")
        network = SpikingNetwork(graph.up_to(node.name), sites, recipe, observed=True)
        channels = len(sites[node.name]["theta"])
        highest, lowest = torch.zeros(channels), torch.zeros(channels)

        def watch(name: str, t: int, layer: NeuronLayer, current: Tensor | None, wanted=node.name) -> None:
            if name == wanted and current is not None:
                flat = current.transpose(0, 1).flatten(1)
                torch.maximum(highest, flat.amax(1), out=highest)  # noqa: B023 (used within the iteration)
                torch.maximum(lowest, -flat.amin(1), out=lowest)  # noqa: B023

        for x in images:
            network.run(x, recipe.calibration.T, probes=[watch])
        sites[node.name] = {**sites[node.name], "theta": _balanced(highest, recipe, node)}
        if "theta_off" in sites[node.name]:
            sites[node.name]["theta_off"] = _balanced(lowest, recipe, node)
    return sites


def _balanced(largest: Tensor, recipe: Recipe, node: Node) -> Tensor:
    """Theta from the largest currents [C]: their statistic times the scale, bounded by the cap of the activation."""
    top = largest.max()
    if recipe.threshold.scope == "layer":
        largest = top.expand(len(largest))
    scale = recipe.threshold.scale * layer_factor(recipe, node.name)
    return at_most(torch.where(largest > 0, largest, top if top > 0 else 1.0) * scale, node.phi.cap).contiguous()


def correct(graph: Graph, recipe: Recipe, sites: Sites, images: Sequence[Tensor], progress: Progress) -> Sites:
    """Layer-wise correction (Li 2021, section 4), per channel, and of the head's bias.

    light: bias -= mean(SNN rate - ANN activation). advanced: initial potential += T * mean(ANN - SNN), here the mean
    over positions too: the paper keeps one value per neuron, which an image of other content cannot use.
    """
    sites = dict(sites)
    # Differential coding sends a value once, and not its T-th part in each of T steps.
    steps = 1 if recipe.encoding.coding == "differential" else recipe.calibration.T
    heads = [graph[name] for name in graph.outputs if graph[name].op != "activation"]
    for node in (*graph.activations, *heads):
        progress(f"correct {node.name}")
        part = graph.up_to(node.name)
        network = SpikingNetwork(part, sites, recipe)
        excess = torch.cat([_excess(network, part, x, recipe.calibration.T) for x in images]).mean(0)
        own = dict(sites.get(node.name, {}))
        if recipe.calibration.kind == "light" or node.op != "activation":
            own["bias"] = -excess
        else:
            shift = -excess * steps
            own["initial"] = recipe.neuron.initial + shift / own["theta"]
            if "theta_off" in own:
                own["initial_off"] = recipe.neuron.initial - shift / own["theta_off"]
        sites[node.name] = own
    return sites


def _excess(network: SpikingNetwork, part: Graph, x: Tensor, T: int) -> Tensor:
    """mean(SNN - ANN) of the part's output per image and channel, [N, C]."""
    difference = network.run(x, T).snapshots[T].outputs[0] - forward(part, x)[0]
    return difference.flatten(2).mean(2) if difference.ndim > 2 else difference


def best_fraction(graph: Graph, recipe: Recipe, sites: Sites, images: Sequence[Tensor], progress: Progress) -> Sites:
    """theta = c * statistic, one c for all layers: the one with the smallest relative error of the output after T."""
    expected = [forward(graph, x) for x in images]

    def scaled(c: float) -> Sites:
        return {
            name: {k: v * c if k.startswith("theta") else v for k, v in site.items()} for name, site in sites.items()
        }

    def error(c: float) -> float:
        progress(f"fraction {c:g}")
        network = SpikingNetwork(graph, scaled(c), recipe)
        T = recipe.calibration.T
        got = [network.run(x, T).snapshots[T].outputs for x in images]
        return sum(
            relative_error([o[k] for o in g], [o[k] for o in e])
            for g, e in zip(got, expected, strict=True)
            for k in range(len(e[0]))
        )

    return scaled(min(FRACTIONS, key=error))


def relative_error(got: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Norm of the difference over the norm of what was expected, over all outputs."""
    difference = sum(float((g - e).double().square().sum()) for g, e in zip(got, expected, strict=True))
    return (difference / max(sum(float(e.double().square().sum()) for e in expected), 1e-300)) ** 0.5


def spike_confidence(graph: Graph, recipe: Recipe, sites: Sites, images: Sequence[Tensor], progress: Progress) -> Sites:
    """MSAT's spike confidence per layer: of the neurons that fired in the first 16 steps, the share that should have.

    recipe: with the confidence off, so that nothing is dropped anywhere. An ON neuron should fire where the ANN's
    pre-activation is positive, an OFF neuron where it is negative. 1 where nothing fired.
    """
    progress("spike confidence")
    network = SpikingNetwork(graph, sites, recipe, observed=True)
    right, fired = dict.fromkeys(sites, 0), dict.fromkeys(sites, 0)
    for x in images:
        before: dict[str, Tensor] = {}

        def tap(node: Node, pre: Tensor, post: Tensor, found=before) -> None:
            found[node.name] = pre

        def tally(name: str, t: int, layer: NeuronLayer, current: Tensor | None, drives=before) -> None:
            if t < CONFIDENCE_STEPS:
                return
            for side in layer.sides:
                spoke, drive = side.count > 0, side.sign * drives[name]
                fired[name] += int(spoke.sum())
                right[name] += int((spoke & (drive > 0)).sum())

        forward(graph, x, tap)
        network.run(x, CONFIDENCE_STEPS, probes=[tally])
    share = {name: right[name] / fired[name] if fired[name] else 1.0 for name in network.neurons}
    confidence = {name: {"confidence": torch.tensor(value)} for name, value in share.items()}
    return {name: {**site, **confidence.get(name, {})} for name, site in sites.items()}
