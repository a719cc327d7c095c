"""The error of a layer of neurons as a signed chain, element by element (after section 3 of the
draft paper).

    ANN activation
      -> clipped at the highest rate                                  clipping
      -> put on the neuron's grid                                     quantisation
      -> the neuron fed its ideal input, the ANN's, for T steps       spike-inherent
      -> fed the input that it really got, evenly spread over T       inherited: wrong input
      -> what the SNN's neuron sent                                   inherited: uneven arrival

The first three are the layer's own, the last two come from the layers below and together are the
inherited part. With rate coding values are what was sent divided by T; with differential coding
they are what was sent, and the input comes once.

A neuron's thresholds over its T ideal steps, theta(t), define both its highest value, gamma *
mean(theta), and its grid, mean(theta) / T: with a fixed theta these are the usual ones, and a
threshold that adapts is judged by what it became. The grid of a differential neuron is what
rounding with each step's theta(t) in turn reaches.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spiking_yolo.graph import Activation
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
    """The links of the chain for one layer, float64 [N, C, ...] each."""

    ann: Tensor
    clipped: Tensor
    grid: Tensor
    ideal: Tensor
    even: Tensor
    snn: Tensor

    def parts(self) -> dict[str, Tensor]:
        """PARTS -> signed error; they add up to snn - ann."""
        links = (self.ann, self.clipped, self.grid, self.ideal, self.even, self.snn)
        return {
            name: after - before
            for name, before, after in zip(PARTS, links[:-1], links[1:], strict=True)
        }


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
    keys: Sequence[int] = (),
) -> Chain:
    """The chain of one layer.

    site, recipe, phi, name: as for build_neurons. before: the ANN's pre-activation [N, C, ...].
    received, sent: sums over T steps of the current and of the values sent in the SNN.
    spike_weight(t): value of a spike in thetas. keys: of the images, see snn.random. A calibrated
    bias counts as input: it corrects what comes from below.
    """
    rate = recipe.encoding.coding == "rate"
    per = T if rate else 1
    alone = build_neurons(
        {k: v for k, v in site.items() if k != "bias"}, recipe, phi, LayerPlan(name)
    )
    reach = Reach(before, phi)
    ideal = feed(alone, before, T, spike_weight, keys, reach.watch)
    ann = phi(before).double()
    limit = [alone.settings.gamma * total / per for total in reach.totals]
    below = -limit[0] if len(limit) == 1 else -phi.slope * limit[1]
    clipped = ann.clamp(min=below).minimum(limit[0])
    on_grid = (
        alone.rate_grid(before.double(), [total / T for total in reach.totals], T)
        if rate
        else reach.rounded.double().clamp(below, limit[0])
    )
    even = feed(
        build_neurons(site, recipe, phi, LayerPlan(name)), received / per, T, spike_weight, keys
    )
    return Chain(ann, clipped, on_grid, ideal / per, even / per, sent.double() / per)


def feed(
    layer: NeuronLayer,
    current: Tensor,
    T: int,
    spike_weight: SpikeWeight,
    keys: Sequence[int] = (),
    watch: Callable[[NeuronLayer], None] = lambda layer: None,
) -> Tensor:
    """The value that a layer on its own sends in T steps, float64, fed the same current in every
    step (rate coding) or once (differential).
    """
    layer.reset(keys)
    always = not layer.coding.once
    total = torch.zeros_like(current)
    for t in range(1, T + 1):
        total += layer(current if always or t == 1 else None, spike_weight(t))
        watch(layer)
    return total.double() * per_channel(layer.theta.double(), total.double())


class Reach:
    """What thresholds allow a layer to send: their sums over time, and what rounding with each in
    turn reaches.
    """

    def __init__(self, before: Tensor, phi: Activation):
        self.target = phi.continuous(before)
        self.rounded = torch.zeros_like(before)
        self._sums: list[Tensor] = []

    @property
    def totals(self) -> list[Tensor]:
        """Sum of theta(t), float64, for each side."""
        return [total.double() for total in self._sums]

    def watch(self, layer: NeuronLayer) -> None:
        now = [side.threshold for side in layer.sides]
        self._sums = [a + b for a, b in zip(self._sums, now, strict=True)] if self._sums else now
        if layer.coding.once:
            if self._sums is now and (rest := getattr(layer, "rest", None)) is not None:
                # The first step: known without an event.
                self.rounded += per_channel(rest * layer.theta, self.target)
            steps = torch.floor(
                (self.target - self.rounded) / now[0] + per_channel(layer.initial, self.target)
            )
            self.rounded.addcmul_(steps, now[0].expand_as(steps))
