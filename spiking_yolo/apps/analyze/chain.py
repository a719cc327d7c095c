"""The error of a layer of neurons, split element by element along a chain (section 3 of the draft
paper).

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

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spiking_yolo.graph import Activation
from spiking_yolo.integer.moves import whole
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.integer.neuron import fire
from spiking_yolo.integer.parameters import moved
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.layout import per_channel
from spiking_yolo.snn.neurons import build_neurons
from spiking_yolo.snn.neurons.layer import NeuronLayer
from spiking_yolo.snn.plan import LayerPlan

OWN = ("clipping", "quantisation", "spike-inherent")
INHERITED = ("wrong input", "uneven arrival")
PARTS = (*OWN, *INHERITED)


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
        """PARTS -> signed error; they add up to snn - ann."""
        links = [self.ann, self.clipped, self.grid, self.ideal, self.even, self.snn]
        return {name: links[k + 1] - links[k] for k, name in enumerate(PARTS)}


def chain(
    site: Mapping[str, Tensor],
    recipe: Recipe,
    phi: Activation,
    name: str,
    before: Tensor,
    received: Tensor,
    sent: Tensor,
    T: int,
) -> Chain:
    """The chain of one layer of rate coding.

    A calibrated bias counts as input: it corrects the error of the layers below.

    Args:
        site: Parameters of the neurons; with recipe, phi and name as for build_neurons.
        recipe: Recipe of the network.
        phi: The ANN's activation function.
        name: Name of the layer.
        before: The ANN's pre-activation, [N, C, ...].
        received: Sum of the input current in the SNN over T steps.
        sent: Sum of the values that the SNN's neurons sent.
        T: Timesteps.
    """
    unbiased = {key: value for key, value in site.items() if key != "bias"}
    layer = build_neurons(unbiased, recipe, phi, LayerPlan(name))
    ideal, thetas = feed(layer, before, T)
    ann = phi(before).double()
    highest = [layer.settings.gamma * theta for theta in thetas]
    lowest = -highest[0]
    if len(highest) > 1:
        lowest = -phi.slope * highest[1]
    clipped = ann.clamp(min=lowest).minimum(highest[0])
    grid = layer.rate_grid(before.double(), thetas, T)
    biased = build_neurons(site, recipe, phi, LayerPlan(name))
    even, _ = feed(biased, received / T, T)
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
        sent: What its neurons sent, as in Frame.sent.
    """
    unit = network.parameters_of.units[name]

    def value(k: Tensor) -> Tensor:
        k = k.cpu().double()
        return k * per_channel(unit.scale, k) + per_channel(unit.bias, k)

    layer = moved(network.layers[name], torch.device("cpu"))
    before = before.float().cpu()
    scale = torch.ones_like(layer.per_value)
    if layer.phi.monotone:
        scale = layer.per_value
    alone = replace(layer, scales=(scale,), bias=torch.zeros_like(layer.bias))
    ann = phi(before).double()
    largest = torch.full_like(before, unit.largest)
    clipped = ann.maximum(value(-largest)).minimum(value(largest))
    grid = value(fire([before], alone, None))
    snn = value(whole(sent))
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
