"""What an analysis records: `LayerWatch` a layer in one run, `LayerTotals` a layer over images."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.apps.analyze.chain import PARTS, Chain
from spiking_yolo.graph import Activation
from spiking_yolo.snn.layout import per_channel
from spiking_yolo.snn.neurons import NeuronLayer


class LayerWatch:
    """One layer and one image: sums of its input and output, and its wrong spikes by step.

    A wrong spike has another sign than the ANN's activation. Of a pair, those are spikes of ON
    neurons whose pre-activation is not positive and of OFF neurons whose is not negative.

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
        signs = before
        if phi.softmax:
            signs = phi(before)
        self._positive = signs > 0
        self._negative = signs < 0
        self._wrong_before: Tensor | None = None

    def see(self, layer: NeuronLayer, current: Tensor) -> None:
        """Record a step in which the layer received `current`; see snn.network.Probe."""
        self.received += current
        self.sent.addcmul_(layer.out, per_channel(layer.theta, layer.out))
        self.wrong.append(self._count_wrong(layer))

    def see_whole(self, value: Tensor) -> None:
        """Record what neurons of whole numbers have sent, in values of the ANN; no step follows."""
        self.eligible = value.numel()
        if not self.signed:
            self.eligible = int((~self._positive).sum())
        self.wrong.append(int(self._has_wrong_sign(value).sum()))

    def finish(self) -> None:
        """Call this after the run: nothing changes in the steps that are left of T."""
        self.wrong += self.wrong[-1:] * (self.T - len(self.wrong))

    def _count_wrong(self, layer: NeuronLayer) -> int:
        if len(layer.sides) > 1 or not self.signed:
            self.eligible = fired = 0
            for side, active in zip(layer.sides, (self._positive, self._negative), strict=False):
                self.eligible += int((~active).sum())
                fired += int(((side.count > 0) & ~active).sum())
            return fired
        wrong = self._has_wrong_sign(layer.out)
        if self._wrong_before is not None:
            wrong |= self._wrong_before
        self._wrong_before = wrong
        self.eligible = wrong.numel()
        return int(wrong.sum())

    def _has_wrong_sign(self, value: Tensor) -> Tensor:
        return ((value > 0) & ~self._positive) | ((value < 0) & ~self._negative)


class Watch:
    """A probe for `Observer.observe`: a LayerWatch per layer.

    Args:
        before: Layer -> the ANN's pre-activation and its activation function.
        T: Timesteps of the run.
    """

    def __init__(self, before: Mapping[str, tuple[Tensor, Activation]], T: int):
        self.layers = {name: LayerWatch(z, phi, T) for name, (z, phi) in before.items()}

    def __call__(self, name: str, t: int, layer: NeuronLayer, current: Tensor) -> None:
        self.layers[name].see(layer, current)


@dataclass
class LayerTotals:
    """One layer, summed over images.

    Attributes:
        name: The layer.
        T: Timesteps of a run.
        images: Images so far.
        ann: Squared norm of the ANN's activation.
        error: Squared norm of the difference between SNN and ANN.
        squares: Squared norm of each part of the error.
        products: Inner product of each part with the whole error.
        spikes: Spikes in all images.
        rates: Sum of the mean rates, see `observe.mean_rate`.
        wrong: Neurons with a wrong spike so far by step, float64 [T]; see LayerWatch.
        eligible: Neurons that could send a wrong spike.
    """

    name: str
    T: int
    images: int = 0
    ann: float = 0.0
    error: float = 0.0
    squares: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    products: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    spikes: float = 0.0
    rates: float = 0.0
    wrong: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    eligible: int = 0

    def add(self, chain: Chain, watch: LayerWatch, spikes: float, rate: float) -> None:
        """Add one image."""
        total = chain.snn - chain.ann
        for name, part in chain.parts().items():
            self.squares[name] += _dot(part, part)
            self.products[name] += _dot(part, total)
        self.ann += _dot(chain.ann, chain.ann)
        self.error += _dot(total, total)
        self.wrong = self.wrong + torch.tensor(watch.wrong, dtype=torch.float64)
        self.eligible += watch.eligible
        self.spikes += spikes
        self.rates += rate
        self.images += 1

    def relative(self, square: float) -> float:
        """A squared norm as a norm relative to the ANN activation's; nan if that is zero."""
        return math.sqrt(square / self.ann) if self.ann else math.nan

    def norms(self) -> dict[str, float]:
        """The relative norm of each part. They do not add up, since parts can cancel each other."""
        return {name: self.relative(square) for name, square in self.squares.items()}

    def shares(self) -> dict[str, float]:
        """What each part contributes to the relative error; the shares add up to it.

        A share is the projection of the part on the whole error: negative where a part makes the
        error smaller.
        """
        # Without an error, or an activation, all products are zero.
        size = math.sqrt(self.error * self.ann) or 1.0
        return {name: product / size for name, product in self.products.items()}

    def sin(self, t: int) -> float:
        """SIN ratio: the fraction of inactivated neurons that sent a wrong spike within t steps.

        nan where no neuron could.
        """
        return float(self.wrong[t - 1]) / self.eligible if self.eligible else math.nan

    def row(self) -> dict[str, Any]:
        """The row of layers.csv; nan where there is nothing to measure. Spikes are per image."""
        row: dict[str, Any] = {"layer": self.name, "error": self.relative(self.error)}
        row |= self.norms()
        row |= {f"share {name}": share for name, share in self.shares().items()}
        row["SIN"] = self.sin(self.T)
        row["rate"] = self.rates / self.images
        row["spikes"] = self.spikes / self.images
        return row


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())
