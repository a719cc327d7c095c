"""The error of a layer of neurons, split element by element along a chain (section 3 of the draft
paper).

    ANN activation
      -> clipped at the highest rate                                  clipping
      -> rounded to the neuron's grid                                 quantisation
      -> sent by the neuron in T steps of ideal input, the ANN's      spike-inherent
      -> sent for the input that it received, evenly spread over T    inherited: wrong input
      -> sent in the SNN                                              inherited: uneven arrival

The first three differences are the layer's own, the other two come from the layers below and
together are the inherited part. In rate coding a value is what was sent divided by T; in
differential coding it is what was sent, and the input comes once.

The thresholds theta(t) of a neuron over its T ideal steps define its highest value,
gamma * mean(theta), and its grid, mean(theta) / T. For a fixed theta these are the usual ones; a
threshold that adapts is judged by what it became. The grid of a differential neuron is what
rounding with each step's theta(t) in turn reaches. A layer of whole numbers sends all in one step:
its highest value is the largest k, its grid is what it makes of the ANN's input, and nothing is
spike-inherent or uneven.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spiking_yolo.graph import Activation
from spiking_yolo.integer.network import IntegerNetwork, whole
from spiking_yolo.integer.neuron import fire
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.layout import per_channel
from spiking_yolo.snn.neurons import NeuronLayer, build_neurons
from spiking_yolo.snn.plan import LayerPlan

OWN = ("clipping", "quantisation", "spike-inherent")
INHERITED = ("wrong input", "uneven arrival")
PARTS = (*OWN, *INHERITED)
SpikeWeight = Callable[[int], float]


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
    spike_weight: SpikeWeight,
) -> Chain:
    """The chain of one layer.

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
        spike_weight: Timestep -> value of a spike in thetas.
    """
    rate = not recipe.differential
    per = 1
    if rate:
        per = T
    unbiased = {key: value for key, value in site.items() if key != "bias"}
    layer = build_neurons(unbiased, recipe, phi, LayerPlan(name))
    reach = Reach(before, phi)
    ideal = feed(layer, before, T, spike_weight, reach.watch)
    ann = phi(before).double()
    highest = [layer.settings.gamma * total / per for total in reach.totals]
    lowest = -highest[0]
    if len(highest) > 1:
        lowest = -phi.slope * highest[1]
    clipped = ann.clamp(min=lowest).minimum(highest[0])
    if rate:
        grid = layer.rate_grid(before.double(), [total / T for total in reach.totals], T)
    else:
        grid = reach.rounded.double().clamp(lowest, highest[0])
    biased = build_neurons(site, recipe, phi, LayerPlan(name))
    even = feed(biased, received / per, T, spike_weight)
    return Chain(ann, clipped, grid, ideal / per, even / per, sent.double() / per)


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

    layer = network.layers[name].to(torch.device("cpu"))
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


def feed(
    layer: NeuronLayer,
    current: Tensor,
    T: int,
    spike_weight: SpikeWeight,
    watch: Callable[[NeuronLayer], None] = lambda layer: None,
) -> Tensor:
    """Run a layer on its own with constant input.

    Args:
        layer: The neurons.
        current: Their input in every step; in differential coding, in the first step only.
        T: Timesteps.
        spike_weight: Timestep -> value of a spike in thetas.
        watch: Called after every step.

    Returns:
        The value that was sent in T steps, float64.
    """
    layer.reset()
    given: Tensor | None = current
    total = torch.zeros_like(current)
    for t in range(1, T + 1):
        total += layer(given, spike_weight(t))
        watch(layer)
        if layer.recipe.differential:
            given = None
    return total.double() * per_channel(layer.theta.double(), total.double())


class Reach:
    """The values that thresholds allow a layer to send.

    Args:
        before: The ANN's pre-activation, [N, C, ...].
        phi: Its activation function.

    Attributes:
        target: The activation that rounding approaches.
        rounded: What rounding with each step's threshold in turn has reached, in differential
            coding.
    """

    def __init__(self, before: Tensor, phi: Activation):
        self.target = phi.continuous(before)
        self.rounded = torch.zeros_like(before)
        self._sums: list[Tensor] = []

    @property
    def totals(self) -> list[Tensor]:
        """Sum of theta(t) over the steps, float64, of each side."""
        return [total.double() for total in self._sums]

    def watch(self, layer: NeuronLayer) -> None:
        """Take the thresholds of one step."""
        thetas = [side.threshold for side in layer.sides]
        if not self._sums:
            self._sums = list(map(torch.zeros_like, thetas))
        for k, theta in enumerate(thetas):
            self._sums[k] = self._sums[k] + theta
        if not layer.recipe.differential:
            return
        due = (self.target - self.rounded) / thetas[0]
        spikes = torch.floor(due + per_channel(layer.initial, self.target))
        self.rounded.addcmul_(spikes, thetas[0].expand_as(spikes))
