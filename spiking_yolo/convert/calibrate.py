"""Recipes that run the network on calibration images.

They balance thresholds, train neurons, correct errors and choose gains. Every step takes and
returns the parameters of the neurons. Layers are treated in order, each with the layers before it
spiking as they will, on the part of the graph that ends at the layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spiking_yolo.convert.learn import differentiable
from spiking_yolo.convert.learn.differentiable import CompleteNetwork, Sent, VideoNetwork
from spiking_yolo.convert.learn.statistics import Statistics
from spiking_yolo.convert.learn.training import Repeated, Session, Training
from spiking_yolo.convert.thresholds import at_most, base_parameters, least_thetas, scaled
from spiking_yolo.graph import Graph, Node, forward, own_dtypes
from spiking_yolo.integer.neuron import LARGEST
from spiking_yolo.integer.parameters import tied, with_theta
from spiking_yolo.models.spec import Spec
from spiking_yolo.observe import Input, Observer
from spiking_yolo.rate.network import SpikingNetwork
from spiking_yolo.rate.neurons.layer import NeuronLayer
from spiking_yolo.recipe import Readout, Recipe
from spiking_yolo.spikes.counting import count_digits
from spiking_yolo.spikes.layout import NeuronParameters, Tensors, per_channel

# The gains of MSAT that are tried for all layers: above 4 the thresholds of Eq. 17 collapse.
GAINS = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
# A smaller gain sends fewer spikes, so it is taken where its error is within NEAR of the smallest
# one. A layer's own gain has to lower the error by more than WORTH, so that chance
# differences do not decide.
NEAR, WORTH = 0.03, 0.005
# These multiples of the gain for all are tried in each layer.
STEPS = (0.8, 1.25)
# Thresholds for later frames are balanced in ROUNDS: each goes this far towards equal shares
# between layers, and half as far between channels, whose estimates are less certain. No theta
# changes by more than a factor of exp(FARTHEST) = 2 in a round.
ROUNDS, OF_LAYERS, OF_CHANNELS, FARTHEST = 4, 0.3, 0.15, 0.7
# This is added to every share, so that none is zero in a ratio.
SMALLEST_SHARE = 1e-7
# Halving all thetas multiplies the operations by about 2 ** POWER; the search at the end is exact.
POWER = 1.4
# A training step sees this many images at least.
FEWEST = 2


@dataclass(frozen=True)
class CalibrationJob:
    """A network to calibrate.

    Attributes:
        graph, spec, statistics: The ANN.
        recipe: One that `runs_network`, and is not tuned.
        images: Batches, [N, C, H, W]; of clips [N, K, C, H, W] for later frames.
        session: How training runs; its progress(text) is called before each other part of the work.
        start: What a training goes on from.
    """

    graph: Graph
    spec: Spec
    statistics: Statistics
    recipe: Recipe
    images: Sequence[Tensor]
    session: Session = Session()
    start: NeuronParameters | None = None


@own_dtypes()
@torch.no_grad()
def calibrate(job: CalibrationJob) -> NeuronParameters:
    """The parameters of the neurons that a recipe learns by running the network."""
    # One state serves every readout.
    recipe = replace(job.recipe, readout=Readout())
    job = replace(job, recipe=recipe)
    neurons = base_parameters(job.graph, job.statistics.histograms, recipe)
    if recipe.chooses_gain:
        # The gain is chosen once thresholds are known.
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


def balance(job: CalibrationJob, neurons: NeuronParameters) -> NeuronParameters:
    """Threshold balancing (Sengupta 2019, section 3.1).

    theta is the largest current that the layer receives while the layers before it spike.
    """
    known = dict(neurons)
    for node in job.graph.activations:
        job.session.progress(f"balance {node.name}")
        network = SpikingNetwork(job.graph.up_to(node.name), known, job.recipe, observed=True)
        highest, lowest = _extremes(network, node.name, job)
        parameters = {**known[node.name], "theta": _balanced(highest, job.recipe, node)}
        if "theta_off" in parameters:
            parameters["theta_off"] = _balanced(-lowest, job.recipe, node)
        known[node.name] = parameters
    return known


def _extremes(network: SpikingNetwork, layer: str, job: CalibrationJob) -> tuple[Tensor, Tensor]:
    """The largest current above and below zero that a layer receives, [C] each."""
    highest = lowest = torch.zeros(())

    def watch(name: str, t: int, neurons: NeuronLayer, current: Tensor) -> None:
        nonlocal highest, lowest
        if name == layer:
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
    if top <= 0:
        top = torch.ones_like(top)
    filled = torch.where(largest > 0, largest, top)
    return at_most(filled * recipe.threshold.scale, node.phi.cap).contiguous()


def by_gradient(job: CalibrationJob, neurons: NeuronParameters) -> NeuronParameters:
    """Thresholds by sensitivity, and training; the recipe's own factor comes later."""
    recipe, few = job.recipe, differentiable.few_of(job.images)
    least = least_thetas(job.graph, job.statistics.histograms)
    network = differentiable.network_of(job.graph, job.spec, recipe, least)
    if isinstance(network, VideoNetwork):
        job = replace(job, images=[clip[:, -1].contiguous() for clip in few])
    if job.start is not None:
        neurons = job.start
    elif recipe.threshold.rule == "sensitivity":
        neurons = by_sensitivity(job, network, neurons)
    if isinstance(network, VideoNetwork):
        return balanced_later(job, network, neurons, few)
    if recipe.calibration.kind == "none":
        few = differentiable.few_of(few, differentiable.FIRST)
        job.session.progress("thresholds")
        goal = differentiable.budget(job.graph, recipe.calibration.operations)
        return differentiable.scaled_to(goal, network, neurons, few)
    training = Training(job.graph, job.spec, recipe, neurons, few, least=least)
    training.run(Repeated(job.images, max(FEWEST, job.spec.images_at_once)), job.session)
    return training.result().neurons


def by_sensitivity(
    job: CalibrationJob, network: CompleteNetwork, neurons: NeuronParameters
) -> NeuronParameters:
    """Thresholds that are coarse where an error matters little to the output."""
    few = differentiable.few_of(job.images, differentiable.FEWER)
    how = job.recipe.encoding.seed, job.spec, job.session.progress
    weights = differentiable.sensitivity(network.graph, few, *how)
    thetas = differentiable.balanced(network, weights)
    # A first guess of their factor: a tenth of the usual statistic.
    usual = sum(values["theta"].mean() for values in neurons.values())
    factor = usual / sum(theta.mean() for theta in thetas.values()) / 10
    return {name: {**own, "theta": thetas[name] * factor} for name, own in neurons.items()}


def best_gain(job: CalibrationJob, neurons: NeuronParameters) -> NeuronParameters:
    """msat.gain of every layer, by the relative error of the output after T.

    First one for all: of GAINS the smallest whose error is within NEAR of the smallest error, since
    a larger gain sends more spikes. Then, layer after layer, a smaller or a larger one where that
    lowers the error by more than WORTH.
    """
    errors = [_output_error(job, with_gain(neurons, k), f"gain {k:g}") for k in GAINS]
    first = 0
    while errors[first] > (1 + NEAR) * min(errors):
        first += 1
    k, best = GAINS[first], errors[first]
    chosen = with_gain(neurons, k)
    for node in job.graph.activations:
        for factor in STEPS:
            own = {**chosen[node.name], "gain": torch.tensor(k * factor)}
            trial = {**chosen, node.name: own}
            trial_error = _output_error(job, trial, f"gain {k * factor:g} of {node.name}")
            if trial_error < (1 - WORTH) * best:
                best = trial_error
                chosen = trial
                break
    return chosen


def with_gain(neurons: NeuronParameters, k: float) -> NeuronParameters:
    """The parameters with one gain for every layer."""
    return {name: {**own, "gain": torch.tensor(k)} for name, own in neurons.items()}


def _output_error(job: CalibrationJob, neurons: NeuronParameters, title: str) -> float:
    """The relative error of the outputs after T, summed over the images."""
    job.session.progress(title)
    T = job.recipe.calibration.T
    observer = Observer(SpikingNetwork(job.graph, neurons, job.recipe), job.graph, job.spec)
    total = 0.0
    for x in job.images:
        for seen in observer.observe(map(Input, x), T, want=("ann",), batch=len(x)):
            total += seen.steps[T].error
    return total


def correct(job: CalibrationJob, neurons: NeuronParameters) -> NeuronParameters:
    """Layer-wise correction (Li 2021, section 4), per channel, and of the head's bias.

    light: bias -= mean(SNN rate - ANN activation). advanced: initial potential += T * mean(ANN -
    SNN), here the mean over positions too: the paper keeps one value per neuron, which an image of
    other content cannot use.
    """
    graph, recipe, corrected = job.graph, job.recipe, dict(neurons)
    T = recipe.calibration.T
    heads = [graph[name] for name in graph.outputs if graph[name].op != "activation"]
    for node in (*graph.activations, *heads):
        job.session.progress(f"correct {node.name}")
        part = graph.up_to(node.name)
        network = SpikingNetwork(part, corrected, recipe)
        differences: list[Tensor] = []
        for x in job.images:
            difference = network.run(x, T).snapshots[T].outputs[0] - forward(part, x)[0]
            if difference.ndim > 2:
                difference = difference.flatten(2).mean(2)
            differences.append(difference)
        excess = torch.cat(differences).mean(0)
        parameters = dict(corrected.get(node.name, {}))
        if recipe.calibration.kind == "light" or node.op != "activation":
            parameters["bias"] = -excess
        else:
            shift = -excess * T
            parameters["initial"] = recipe.neuron.initial + shift / parameters["theta"]
            if "theta_off" in parameters:
                off = shift / parameters["theta_off"]
                parameters["initial_off"] = recipe.neuron.initial - off
        corrected[node.name] = parameters
    return corrected


def balanced_later(
    job: CalibrationJob, network: VideoNetwork, neurons: NeuronParameters, clips: Sequence[Tensor]
) -> NeuronParameters:
    """Thresholds with which a later frame of a video takes the operations of the recipe.

    What a channel costs there depends on how often it changes, and its error on what its dead zone
    holds back, so both are measured, in the last frames of clips. Thetas become coarser where the
    share of the operations is larger than that of the error of the outputs, and finer elsewhere:
    where both are equal, no channel could take over from another.

    Args:
        job: Its images are the last frames.
        network: The spiking network.
        neurons: To start from.
        clips: Batches, [N, K, C, H, W].
    """
    goal = differentiable.budget(job.graph, job.recipe.calibration.operations)
    weights = differentiable.sensitivity(network.graph, job.images, spec=job.spec)
    few = differentiable.few_of(clips, differentiable.FIRST)
    values = differentiable.scaled_to(goal, network, neurons, few)
    for _ in range(ROUNDS):
        job.session.progress("later frames")
        costs, errors = measured(network, values, clips, weights)
        spent, error = (torch.cat([*parts.values()]).sum() for parts in (costs, errors))
        changed: dict[str, Mapping[str, Tensor]] = dict(values)
        for name in network.sites:
            cost, harm = costs[name] / spent + SMALLEST_SHARE, errors[name] / error + SMALLEST_SHARE
            of_layer = torch.log(cost.sum() / harm.sum())
            step = OF_LAYERS * of_layer + OF_CHANNELS * (torch.log(cost / harm) - of_layer)
            theta = values[name]["theta"] * step.clamp(-FARTHEST, FARTHEST).exp()
            changed[name] = with_theta(values[name], theta)
        values = scaled(job.graph, changed, (spent.item() / goal) ** (1 / POWER), network.least)
    return differentiable.scaled_to(goal, network, values, clips, first=differentiable.FEW)


def measured(
    network: VideoNetwork, values: NeuronParameters, clips: Sequence[Tensor], weights: Tensors
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Operations per MAC in the last frames of clips, and the error that rounding makes there, in
    the unit of the weights: [C] by activation, means over the clips.
    """
    values = tied(network.graph, values)
    costs = {name: torch.zeros(count) for name, count in network.sites.items()}
    errors = {name: torch.zeros(count) for name, count in network.sites.items()}
    count = sum(map(len, clips))

    def watch(name: str, z: Tensor, value: Tensor) -> None:
        own, phi = values[name], network.graph[name].phi.continuous
        current = z + per_channel(own["bias"], z) if "bias" in own else z
        # No theta cures what exceeds 8 bits.
        within = differentiable.in_thetas(value, own).round().abs() < LARGEST
        error = _by_channel(within * (value - phi(current)).square())
        errors[name] += weights[name] * error / count

    for x in clips:
        sent: Sent = {}
        network(x[:, :-1], values, sent)
        before = dict(sent)
        network.watch = watch
        network(x[:, -1:], values, sent)
        network.watch = None
        for name in network.sites:
            for sender in network.senders(name):
                digits = count_digits(sent[sender] - before[sender]) * network.costs[sender]
                costs[name] += _by_channel(digits) / count
    return costs, errors


def _by_channel(x: Tensor) -> Tensor:
    """The sum of [N, C, ...] by channel, [C]."""
    return x.transpose(0, 1).flatten(1).sum(1).float()
