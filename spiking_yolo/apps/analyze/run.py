"""Analyse a network on images: run them, split every layer's error element by element along a chain
(section 3 of the draft paper), and write the results.

    ANN activation
      -> clipped at the highest rate                                  clipping
      -> rounded to the neuron's grid                                 quantisation
      -> sent by the neuron in T steps of ideal input, the ANN's      spike-inherent
      -> sent for the input that it received, evenly spread over T    inherited: wrong input
      -> sent in the SNN                                              inherited: uneven arrival

The first three differences are the layer's own, the other two come from the layers below and
together are the inherited part. A value is what was sent divided by T.

The thresholds theta(t) of a neuron over its T ideal steps define its highest value,
gamma * mean(theta), and its grid, mean(theta) / T. For a fixed theta these are the usual ones; a
threshold that adapts is judged by what it became. A layer of whole numbers sends all in one step:
its highest value is the largest k, its grid is what it makes of the ANN's input, and nothing is
spike-inherent or uneven.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.convert.load import Converted
from spiking_yolo.graph import Activation, Graph, forward, layer_labels
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.integer.neuron import fire
from spiking_yolo.integer.parameters import moved
from spiking_yolo.io.files import Progress, silent
from spiking_yolo.io.text import columns, percent, write_csv
from spiking_yolo.observe import Observer, mean_rate, read_input, relative_error
from spiking_yolo.rate.neurons import build_neurons
from spiking_yolo.rate.neurons.layer import NeuronLayer
from spiking_yolo.recipe import Recipe
from spiking_yolo.spikes.layout import per_channel

# The first three are the layer's own, the others are inherited.
ERROR_PARTS = ("clipping", "quantisation", "spike-inherent", "wrong input", "uneven arrival")


@dataclass(frozen=True)
class Chain:
    """The links of the chain of one layer, in order, float64 [N, C, ...] each."""

    ann: Tensor
    clipped: Tensor
    grid: Tensor
    ideal: Tensor
    even: Tensor
    snn: Tensor

    def parts(self) -> dict[str, Tensor]:
        """ERROR_PARTS -> signed error; they add up to snn - ann."""
        links = [self.ann, self.clipped, self.grid, self.ideal, self.even, self.snn]
        return {name: links[k + 1] - links[k] for k, name in enumerate(ERROR_PARTS)}


def chain(
    site: Mapping[str, Tensor],
    recipe: Recipe,
    phi: Activation,
    before: Tensor,
    received: Tensor,
    sent: Tensor,
    T: int,
) -> Chain:
    """The chain of one layer of rate coding.

    A calibrated bias counts as input: it corrects the error of the layers below.

    Args:
        site: Parameters of the neurons; with recipe and phi as for build_neurons.
        recipe: Recipe of the network.
        phi: The ANN's activation function.
        before: The ANN's pre-activation, [N, C, ...].
        received: Sum of the input current in the SNN over T steps.
        sent: Sum of the values that the SNN's neurons sent.
        T: Timesteps.
    """
    unbiased = {key: value for key, value in site.items() if key != "bias"}
    layer = build_neurons(unbiased, recipe, phi)
    ideal, thetas = feed(layer, before, T)
    ann = phi(before).double()
    highest = [layer.settings.gamma * theta for theta in thetas]
    lowest = -highest[0]
    if len(highest) > 1:
        lowest = -phi.slope * highest[1]
    clipped = ann.clamp(min=lowest).minimum(highest[0])
    grid = layer.rate_grid(before.double(), thetas, T)
    even, _ = feed(build_neurons(site, recipe, phi), received / T, T)
    return Chain(ann, clipped, grid, ideal / T, even / T, sent.double() / T)


def whole_chain(
    network: IntegerNetwork, name: str, before: Tensor, phi: Activation, sent: Tensor
) -> Chain:
    """The chain of one layer of a network of whole numbers.

    Args:
        network: The network.
        name: Name of the layer.
        before: The ANN's pre-activation, [N, C, ...].
        phi: The ANN's activation function.
        sent: What its neurons sent, whole numbers.
    """
    unit = network.plan.parameters.units[name]

    def value(k: Tensor) -> Tensor:
        k = k.cpu().double()
        return k * per_channel(unit.scale, k) + per_channel(unit.bias, k)

    layer = moved(network.plan.parameters.layers[name], torch.device("cpu"))
    before = before.float().cpu()
    scale = torch.ones_like(layer.per_value)
    if layer.phi.monotone:
        scale = layer.per_value
    alone = replace(layer, scales=(scale,), bias=torch.zeros_like(layer.bias))
    ann = phi(before).double()
    largest = torch.full_like(before, unit.largest)
    clipped = ann.maximum(value(-largest)).minimum(value(largest))
    grid = value(fire([before], alone, None))
    snn = value(sent)
    return Chain(ann, clipped, grid, grid, snn, snn)


def feed(layer: NeuronLayer, current: Tensor, T: int) -> tuple[Tensor, list[Tensor]]:
    """Run a layer on its own with constant input.

    Args:
        layer: The neurons.
        current: Their input in every step.
        T: Timesteps.

    Returns:
        The value that was sent in T steps, and the mean of theta(t) of each side, float64.
    """
    layer.reset()
    total = torch.zeros_like(current)
    sums: list[Tensor] = []
    for _ in range(T):
        total += layer(current)
        thetas = [side.threshold for side in layer.sides]
        sums = sums or list(map(torch.zeros_like, thetas))
        sums = [before + theta for before, theta in zip(sums, thetas, strict=True)]
    sent = total.double() * per_channel(layer.theta.double(), total.double())
    return sent, [one.double() / T for one in sums]


NOTE = """\
error: norm of the difference between SNN and ANN, in % of the norm of the ANN's activation. Norms
of its parts: clip(ping), quant(isation), spike(-inherent), and what comes from the layers below,
as wrong input and uneven arrival. Parts cancel each other, so norms do not add up; their shares in
layers.csv do: projections on the whole difference. Neurons stand in front of max pooling here
(neuron.pool_first=false), so that layers compare one to one with the ANN's."""
_HEAD = ("error", "clip", "quant", "spike", "input", "uneven", "rate", "spikes")


class Watch:
    """A probe for `Observer.observe`: what the layers receive and send for one image.

    Args:
        before: Layer -> the ANN's pre-activation.

    Attributes:
        received: Layer -> sum of its input current, [N, C, ...].
        sent: Layer -> sum of the values that its neurons sent.
    """

    def __init__(self, before: Mapping[str, Tensor]):
        self.received = {name: torch.zeros_like(z) for name, z in before.items()}
        self.sent = {name: torch.zeros_like(z) for name, z in before.items()}

    def __call__(self, name: str, t: int, layer: NeuronLayer, current: Tensor) -> None:
        self.received[name] += current
        self.sent[name].addcmul_(layer.out, per_channel(layer.theta, layer.out))


@dataclass
class LayerTotals:
    """One layer, summed over images.

    Attributes:
        name: The layer.
        images: Images so far.
        ann: Squared norm of the ANN's activation.
        error: Squared norm of the difference between SNN and ANN.
        squares: Squared norm of each part of the error.
        products: Inner product of each part with the whole error.
        spikes: Spikes in all images.
        rates: Sum of the mean rates, see `observe.mean_rate`.
    """

    name: str
    images: int = 0
    ann: float = 0.0
    error: float = 0.0
    squares: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ERROR_PARTS, 0.0))
    products: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ERROR_PARTS, 0.0))
    spikes: float = 0.0
    rates: float = 0.0

    def add(self, chain: Chain, spikes: float, rate: float) -> None:
        """Add one image."""
        total = chain.snn - chain.ann
        for name, part in chain.parts().items():
            self.squares[name] += _dot(part, part)
            self.products[name] += _dot(part, total)
        self.ann += _dot(chain.ann, chain.ann)
        self.error += _dot(total, total)
        self.spikes += spikes
        self.rates += rate
        self.images += 1

    def relative(self, square: float) -> float:
        """A squared norm as a norm relative to the ANN activation's; nan if that is zero."""
        return math.sqrt(square / self.ann) if self.ann else math.nan

    def shares(self) -> dict[str, float]:
        """Return the share of each part in the relative error, which they add up to.

        A share is the projection of the part on the whole error: negative where a part makes the
        error smaller.
        """
        # All products are zero where there is no error, or no activation.
        size = math.sqrt(self.error * self.ann) or 1.0
        return {name: product / size for name, product in self.products.items()}

    def row(self) -> dict[str, Any]:
        """The row of layers.csv: norms, which do not add up since parts can cancel each other, and
        shares; spikes are per image.
        """
        row: dict[str, Any] = {"layer": self.name, "error": self.relative(self.error)}
        for name, square in self.squares.items():
            row[name] = self.relative(square)
        row |= {f"share {name}": share for name, share in self.shares().items()}
        row["rate"] = self.rates / self.images
        row["spikes"] = self.spikes / self.images
        return row


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())


@dataclass(frozen=True)
class Analysis:
    """The parts of the error of a conversion, by layer.

    Attributes:
        labels: Layer -> what tables and figures call it, such as "conv 5".
        layers: All layers, in the network's order.
        output_error: Relative error of the head tensors after all steps, the mean over images.
    """

    labels: Mapping[str, str]
    layers: Sequence[LayerTotals]
    output_error: float

    def text(self) -> str:
        """A table that fits 100 columns, and the largest error in a sentence."""
        table = [["layer", *_HEAD]]
        for layer in self.layers:
            row = layer.row()
            cells = [percent(row[name]) for name in ("error", *ERROR_PARTS)]
            cells += [f"{row['rate']:.3f}", f"{row['spikes']:,.0f}"]
            table.append([self.labels[layer.name][-30:], *cells])
        worst = max(self.layers, key=lambda layer: layer.error / (layer.ann or 1.0))
        shares = worst.shares()
        return (
            f"{columns(table)}\n\n{NOTE}\n\n"
            f"The output's relative error is {self.output_error:.3g}. The largest of a layer is"
            f" {worst.relative(worst.error):.3g},\nin {self.labels[worst.name]}, most of it"
            f" {max(ERROR_PARTS, key=lambda name: shares[name])}."
        )

    def save(self, folder: Path) -> None:
        """Write layers.csv."""
        write_csv(folder / "layers.csv", [layer.row() for layer in self.layers])


def analyze(
    converted: Converted, paths: list[str], T: int, device: str = "cpu", progress: Progress = silent
) -> Analysis:
    """Run every image for T steps, and split the error of every layer into its parts.

    Args:
        converted: The network. Its neurons are put in front of max pooling.
        paths: Image files, of which one is in memory at a time.
        T: Timesteps.
        device: Where the network runs.
        progress: progress("images", done, total), called after every image.

    Raises:
        UserError: A file is not an image.
    """
    neuron = replace(converted.recipe.neuron, pool_first=False)
    converted = replace(converted, recipe=replace(converted.recipe, neuron=neuron))
    complete = converted.recipe.complete
    network = converted.network(device) if complete else converted.simulator(device, observed=True)
    graph = converted.graph.to(device)
    observer = Observer(network, graph, converted.spec)
    totals = {node.name: LayerTotals(node.name) for node in graph.activations}
    error = 0.0
    for done, path in enumerate(paths, 1):
        image = read_input(path).prepared(converted.spec)
        x = image.x[None].to(device)
        before, outputs = _pre_activations(graph, converted.spec.normalised(x))
        watch = Watch(before)
        probes = [] if complete else [watch]
        (seen,) = observer.observe([image], T, [T], want=(), probes=probes)
        error += relative_error(seen.last.outputs, outputs) / len(paths)
        if isinstance(network, IntegerNetwork):
            watch.sent = dict(network.sent(x))
        for name, z in before.items():
            phi, sent = graph[name].phi, watch.sent[name]
            if isinstance(network, IntegerNetwork):
                links = whole_chain(network, name, z, phi, sent)
            else:
                site, recipe = converted.neurons[name], converted.recipe
                links = chain(site, recipe, phi, z, watch.received[name], sent, T)
            spikes = seen.last.spikes[name]
            rate = mean_rate(spikes, seen.neurons_by_layer[name], seen.last.active_steps)
            totals[name].add(links, spikes, rate)
        progress("images", done, len(paths))
    labels = layer_labels(graph)
    named = {name: labels.get(name, name) for name in totals}
    return Analysis(named, list(totals.values()), error)


@torch.no_grad()
def _pre_activations(graph: Graph, x: Tensor) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """The ANN's pre-activations by layer, and its outputs."""
    before: dict[str, Tensor] = {}
    outputs = forward(graph, x, lambda node, pre, post: before.update({node.name: pre}))
    return before, tuple(output.cpu() for output in outputs)
