"""What an analysis records: `Watch` the layers in one run, `LayerTotals` a layer over images."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.apps.analyze.chain import PARTS, Chain
from spiking_yolo.snn.layout import per_channel
from spiking_yolo.snn.neurons import NeuronLayer


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
    squares: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    products: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
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
        """What each part contributes to the relative error; the shares add up to it.

        A share is the projection of the part on the whole error: negative where a part makes the
        error smaller.
        """
        # Without an error, or an activation, all products are zero.
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
