"""What an analysis records.

`Watch` is the probe of one run: a `LayerWatch` per layer, and a `NeuronSample` of one of them.
`LayerTotals` sums up a layer over the images, and an `Analysis` holds those of all layers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.apps.analyze.chain import INHERITED, OWN, PARTS, Chain
from spiking_yolo.convert.converted import Converted
from spiking_yolo.graph import Activation
from spiking_yolo.io.json import finite
from spiking_yolo.observe import mean_rate
from spiking_yolo.snn.layout import per_channel
from spiking_yolo.snn.neurons import NeuronLayer

# Neurons of a sample.
ACTIVE, INACTIVE = 300, 60


class LayerWatch:
    """One layer and one image: sums of its input and output, and its wrong spikes by step.

    A wrong spike has another sign than the ANN's activation. Of a pair, those are spikes of ON
    neurons whose pre-activation is not positive and of OFF neurons whose is not negative. Of a
    neuron with memory, which can take a spike back, the sign of the sum counts.

    Args:
        before: The ANN's pre-activation, [N, C, ...].
        phi: Its activation function.
        T: Timesteps of the run.

    Attributes:
        received: Sum of the input current, [N, C, ...].
        sent: Sum of the values sent.
        wrong: Element t - 1 counts the neurons that sent a wrong spike within t steps.
        eligible: Neurons that could send one.
    """

    def __init__(self, before: Tensor, phi: Activation, T: int):
        self.before = before
        self.phi = phi
        self.signed = bool(phi.slope or phi.gate)
        self.T = T
        self.received = torch.zeros_like(before)
        self.sent = torch.zeros_like(before)
        self.wrong: list[int] = []
        self.eligible = 0
        signs = phi(before) if phi.softmax else before
        self._positive = signs > 0
        self._negative = signs < 0
        self._wrong_before: Tensor | None = None
        # A step and the spike counts of each side by then.
        self._half = (0, [0.0, 0.0])

    def see(self, t: int, layer: NeuronLayer, current: Tensor | None) -> None:
        """Record step t, in which the layer received `current`; see snn.network.Probe."""
        self._repeat_until(t - 1)
        self.layer = layer
        if current is not None:
            self.received += current
        self.sent.addcmul_(layer.out, per_channel(layer.theta, layer.out))
        self.wrong.append(self._count_wrong(layer))
        if t == self.T // 2:
            self._half = (t, [side.count.clone() for side in layer.sides])

    def finish(self) -> None:
        """Call this after the run."""
        self._repeat_until(self.T)

    def _repeat_until(self, t: int) -> None:
        """A probe is not called for a settled layer, in which nothing changes."""
        self.wrong += self.wrong[-1:] * (t - len(self.wrong))

    def _count_wrong(self, layer: NeuronLayer) -> int:
        if len(layer.sides) > 1 or not self.signed:
            self.eligible = fired = 0
            for side, active in zip(layer.sides, (self._positive, self._negative), strict=False):
                self.eligible += int((~active).sum())
                fired += int(((side.count > 0) & ~active).sum())
            return fired
        output = self.sent if layer.recipe.neuron_kind.memory else layer.out
        wrong = ((output > 0) & ~self._positive) | ((output < 0) & ~self._negative)
        if self._wrong_before is not None:
            wrong |= self._wrong_before
        self._wrong_before = wrong
        self.eligible = wrong.numel()
        return int(wrong.sum())

    def saturated(self) -> Tensor:
        """Where a neuron sent gamma spikes in all steps of the run's second half, bool [N, C, ...].

        Of a pair, where one of the two did.
        """
        since, counts = self._half
        most = self.layer.settings.gamma * (self.T - since)
        saturated = torch.zeros_like(self._positive)
        for side, count in zip(self.layer.sides, counts, strict=False):
            saturated |= side.count - count >= most
        return saturated

    def fired(self) -> Tensor:
        """Where a neuron sent a spike; of a pair, the ON neuron."""
        return self.layer.sides[0].count > 0


@dataclass
class NeuronSample:
    """Some neurons of one layer, followed through the run. Of a pair, the ON neurons.

    Attributes:
        name: The layer.
        activation: The ANN's, float [neurons].
        top: Theta, the threshold that the statistics gave, float [neurons].
        where: Indices of the neurons, one tensor per dimension of the layer's output.
        t: The recorded steps.
        theta: Thresholds, float [neurons], by recorded step.
        potential: Membrane potentials after the reset; of a signed memory neuron, what it has not
            sent yet.
    """

    name: str
    activation: np.ndarray
    top: np.ndarray
    where: tuple[Tensor, ...]
    t: list[int] = field(default_factory=list)
    theta: list[np.ndarray] = field(default_factory=list)
    potential: list[np.ndarray] = field(default_factory=list)

    def see(self, t: int, layer: NeuronLayer) -> None:
        on = layer.sides[0]
        theta = on.threshold.expand_as(on.count)[self.where]
        potential = on.residual()[self.where]
        self.t.append(t)
        self.theta.append(theta.cpu().numpy())
        self.potential.append(potential.cpu().numpy())

    def at_every_step(self, T: int) -> "NeuronSample":
        """The sample at 1..T: a layer that has settled stays as it was."""
        steps = list(range(1, T + 1))
        latest = np.searchsorted(self.t, steps, side="right") - 1
        theta = [self.theta[i] for i in latest]
        potential = [self.potential[i] for i in latest]
        return NeuronSample(
            self.name, self.activation, self.top, self.where, steps, theta, potential
        )


def sample_neurons(name: str, after: Tensor, theta: Tensor, seed: int = 0) -> NeuronSample:
    """Choose neurons of a layer: active ones of all magnitudes, and some inactive ones.

    Args:
        name: The layer.
        after: The ANN's activation for one image, [1, C, ...].
        theta: The layer's thresholds, [C].
        seed: Of the choice of inactive neurons.
    """
    flat = after.flatten()
    order = flat.argsort(descending=True).cpu()
    positive = int((flat > 0).sum())
    ranks = np.zeros(0, int)
    if positive:
        ranks = np.unique(np.geomspace(1, positive, ACTIVE).round().astype(int)) - 1
    inactive = np.random.default_rng(seed).permutation(np.arange(positive, len(flat)))[:INACTIVE]
    index = order[torch.from_numpy(np.concatenate([ranks, inactive]))].to(after.device)
    where = torch.unravel_index(index, after.shape)
    activation = flat[index].cpu().numpy()
    return NeuronSample(name, activation, theta.to(after.device)[where[1]].cpu().numpy(), where)


class Watch:
    """A probe for `Observer.observe`: a LayerWatch per layer, and the sample of one layer.

    Args:
        before: Layer -> the ANN's pre-activation and its activation function.
        T: Timesteps of the run.
    """

    def __init__(self, before: Mapping[str, tuple[Tensor, Activation]], T: int):
        self.layers = {name: LayerWatch(z, phi, T) for name, (z, phi) in before.items()}
        self.sample: NeuronSample | None = None

    def __call__(self, name: str, t: int, layer: NeuronLayer, current: Tensor | None) -> None:
        self.layers[name].see(t, layer, current)
        if self.sample is not None and self.sample.name == name:
            self.sample.see(t, layer)


@dataclass
class LayerTotals:
    """One layer, summed over images.

    Attributes:
        name: The layer.
        T: Timesteps of a run.
        neurons: Of the layer, for one image.
        images: Images so far.
        sites: Elements of the ANN's activation, over all images.
        ann: Squared norm of the ANN's activation.
        error: Squared norm of the difference between SNN and ANN.
        squares: Squared norm of each part of the error.
        products: Inner product of each part with the whole error.
        spikes: By timestep.
        rates: Sum of the mean rates, see `observe.mean_rate`.
        wrong: Neurons with a wrong spike so far by step, float64 [T]; see LayerWatch.
        active: Elements above zero in the ANN.
        level: Their sum, in thresholds.
        eligible: Neurons that could send a wrong spike.
        saturated: Neurons at their highest rate.
        channels: bool [C]: those with a neuron that is "positive" in the ANN, "fired" or is
            "saturated".
    """

    name: str
    T: int
    neurons: int = 0
    images: int = 0
    sites: int = 0
    ann: float = 0.0
    error: float = 0.0
    squares: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys((*PARTS, "own", "inherited"), 0.0)
    )
    products: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    spikes: dict[int, float] = field(default_factory=dict)
    rates: float = 0.0
    wrong: Tensor = field(default_factory=lambda: torch.zeros(0))
    active: int = 0
    level: float = 0.0
    eligible: int = 0
    saturated: int = 0
    channels: dict[str, Tensor] = field(default_factory=dict)

    def add(
        self,
        chain: Chain,
        theta: Tensor,
        watch: LayerWatch,
        spikes: Mapping[int, float],
        neurons: int,
        active_steps: int,
    ) -> None:
        """Add one image. theta: [C, 1, ...]; spikes: by timestep; neurons: of the layer;
        active_steps: of the network.
        """
        self.images += 1
        self.neurons = neurons
        self._add_errors(chain)
        self.active += int((chain.ann > 0).sum())
        self.level += float((chain.ann / theta).clamp(min=0).sum())
        for t, n in spikes.items():
            self.spikes[t] = self.spikes.get(t, 0.0) + n
        self.rates += mean_rate(spikes[self.T], neurons, active_steps)
        wrong = torch.tensor(watch.wrong, dtype=torch.float64)
        self.wrong = wrong if self.images == 1 else self.wrong + wrong
        self.eligible += watch.eligible
        saturated = watch.saturated()
        self.saturated += int(saturated.sum())
        masks = {"positive": chain.ann > 0, "fired": watch.fired(), "saturated": saturated}
        for name, mask in masks.items():
            by_channel = mask.transpose(0, 1).flatten(1).any(1)
            self.channels[name] = by_channel | self.channels.get(name, torch.zeros_like(by_channel))

    def _add_errors(self, chain: Chain) -> None:
        total = chain.snn - chain.ann
        parts = chain.parts()
        sums = {"own": chain.ideal - chain.ann, "inherited": chain.snn - chain.ideal}
        for name, part in (parts | sums).items():
            self.squares[name] += _dot(part, part)
        for name, part in parts.items():
            self.products[name] += _dot(part, total)
        self.ann += _dot(chain.ann, chain.ann)
        self.error += _dot(total, total)
        self.sites += total.numel()

    def relative(self, square: float) -> float:
        """A squared norm as a norm relative to the ANN activation's; nan if that is zero."""
        return math.sqrt(square / self.ann) if self.ann else math.nan

    @property
    def relative_error(self) -> float:
        return self.relative(self.error)

    def norms(self) -> dict[str, float]:
        """The relative norm of each part, and of the sums "own" and "inherited".

        Norms do not add up, since parts can cancel each other.
        """
        return {name: self.relative(square) for name, square in self.squares.items()}

    def shares(self) -> dict[str, float]:
        """What each part contributes to the relative error; the shares add up to it.

        A share is the projection of the part on the whole error: negative where a part makes the
        error smaller.
        """
        size = math.sqrt(self.error * self.ann)
        return {name: product / size if size else 0.0 for name, product in self.products.items()}

    def dominant(self, parts: Sequence[str] = PARTS) -> str:
        """The one of `parts` that contributes most to the error."""
        shares = self.shares()
        return max(parts, key=lambda name: shares[name])

    def sin(self, t: int) -> float:
        """SIN ratio: the fraction of inactivated neurons that sent a wrong spike within t steps.

        nan beyond T, and where no neuron could.
        """
        if t > self.T or not self.eligible:
            return math.nan
        return float(self.wrong[t - 1]) / self.eligible

    def count(self, kind: str) -> int:
        """Number of channels of a kind.

        saturated: some neuron is at its highest rate; silent: active in the ANN, but never fired;
        dead: never active in the ANN.
        """
        if kind == "silent":
            mask = self.channels["positive"] & ~self.channels["fired"]
        elif kind == "dead":
            mask = ~self.channels["positive"]
        else:
            mask = self.channels[kind]
        return int(mask.sum())

    @property
    def mean_activation(self) -> float:
        """Mean positive activation of the ANN, in thresholds.

        Its reciprocal is the time to a first spike.
        """
        return self.level / self.active if self.active else math.nan

    @property
    def rate(self) -> float:
        """Spikes per neuron and timestep, the mean over images."""
        return self.rates / self.images

    def row(self) -> dict[str, Any]:
        """The row of layers.csv; None where there is nothing to measure. Spikes are per image."""
        norms = self.norms()
        row: dict[str, Any] = {
            "layer": self.name,
            "channels": len(self.channels["fired"]),
            "neurons": self.neurons,
            "mean_activation": self.mean_activation,
            "error": self.relative_error,
        }
        for name in (*OWN, "own", "inherited", *INHERITED):
            row[_key(name)] = norms[name]
        for name, share in self.shares().items():
            row[f"share_{_key(name)}"] = share
        row["saturated_neurons"] = self.saturated / self.sites
        for kind in ("saturated", "silent", "dead"):
            row[f"{kind}_channels"] = self.count(kind)
        row["sin_16"] = self.sin(16)
        row["sin_T"] = self.sin(self.T)
        row["rate"] = self.rate
        row["spikes"] = self.spikes[self.T] / self.images
        return finite(row)


def _key(part: str) -> str:
    name = part.replace(" ", "_").replace("-", "_")
    return f"inherited_{name}" if part in INHERITED else name


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())


@dataclass(frozen=True)
class MethodCost:
    """The cost of a method as the other commands run it: means over images, by timestep.

    Attributes:
        spikes: Of the whole network.
        error: Of the output, relative to the ANN's.
    """

    spikes: Mapping[int, float]
    error: Mapping[int, float]


@dataclass(frozen=True)
class Analysis:
    """Where the error of a conversion comes from.

    Attributes:
        converted: The network, with neurons in front of max pooling: its layers compare one to one
            with the ANN's activations.
        T: Timesteps of a run.
        images: The image files.
        layers: In the network's order.
        sample: Neurons of one layer on the first image.
        output_error: Relative error of the head tensors by timestep, the mean over images.
    """

    converted: Converted
    T: int
    images: tuple[str, ...]
    layers: tuple[LayerTotals, ...]
    sample: NeuronSample
    output_error: Mapping[int, float]
