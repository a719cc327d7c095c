"""The figures of one layer, summed over images."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.apps.analyze.chain import INHERITED, OWN, PARTS, Chain
from spiking_yolo.apps.analyze.watch import LayerWatch
from spiking_yolo.io.json import finite

Row = dict[str, Any]


@dataclass
class LayerTotals:
    """Sums over the images of one layer: squares of the errors, products with the total error,
    counts, channels.
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
    ) -> None:
        """One image. theta: [C, 1, ...]. spikes: by timestep. neurons: of the layer, for one
        image.
        """
        parts = chain.parts()
        total = chain.snn - chain.ann
        sums = {"own": chain.ideal - chain.ann, "inherited": chain.snn - chain.ideal}
        for name, part in (parts | sums).items():
            self.squares[name] += _dot(part, part)
        for name, part in parts.items():
            self.products[name] += _dot(part, total)
        self.ann += _dot(chain.ann, chain.ann)
        self.active += int((chain.ann > 0).sum())
        self.level += float((chain.ann / theta).clamp(min=0).sum())
        self.error += _dot(total, total)
        self.neurons, self.images, self.sites = neurons, self.images + 1, self.sites + total.numel()
        self.spikes = {t: self.spikes.get(t, 0.0) + n for t, n in spikes.items()}
        wrong = torch.tensor(watch.wrong, dtype=torch.float64)
        self.wrong = wrong if self.images == 1 else self.wrong + wrong
        self.eligible += watch.eligible
        saturated = watch.saturated()
        self.saturated += int(saturated.sum())
        seen = {"positive": chain.ann > 0, "fired": watch.fired(), "saturated": saturated}
        for name, mask in seen.items():
            by_channel = mask.transpose(0, 1).flatten(1).any(1)
            self.channels[name] = by_channel | self.channels.get(name, torch.zeros_like(by_channel))

    def relative(self, square: float) -> float:
        """A sum of squares as a norm relative to the ANN activation's; nan when that is zero."""
        return math.sqrt(square / self.ann) if self.ann else math.nan

    @property
    def relative_error(self) -> float:
        return self.relative(self.error)

    def norms(self) -> dict[str, float]:
        """Norm of each part, and of the sums "own" and "inherited", relative to the ANN
        activation's.

        Norms do not add up: parts can cancel.
        """
        return {name: self.relative(square) for name, square in self.squares.items()}

    def shares(self) -> dict[str, float]:
        """What each part contributes to the relative error: its projection on the total error.
        These add up to it.

        Negative where a part makes the total smaller.
        """
        size = math.sqrt(self.error * self.ann)
        return {name: product / size if size else 0.0 for name, product in self.products.items()}

    def dominant(self, parts: Sequence[str] = PARTS) -> str:
        """The one of `parts` that contributes most to the error."""
        shares = self.shares()
        return max(parts, key=lambda name: shares[name])

    def sin(self, t: int) -> float:
        """SIN ratio: neurons that fired against the ANN's sign within t steps, of those that could.
        nan beyond T.
        """
        return (
            float(self.wrong[t - 1]) / self.eligible if self.eligible and t <= self.T else math.nan
        )

    def count(self, kind: str) -> int:
        """Channels. saturated: some neuron at its highest rate; silent: active in the ANN, but
        never fired; dead: never active in the ANN.
        """
        c = self.channels
        chosen = {
            "saturated": c["saturated"],
            "silent": c["positive"] & ~c["fired"],
            "dead": ~c["positive"],
        }
        return int(chosen[kind].sum())

    @property
    def mean_activation(self) -> float:
        """Mean ANN activation of the neurons that have one, in thresholds: one over it is the time
        to a first spike.
        """
        return self.level / self.active if self.active else math.nan

    @property
    def rate(self) -> float:
        """Spikes per neuron and timestep."""
        return self.spikes[self.T] / (self.images * self.neurons * self.T)

    def row(self) -> Row:
        """The line of layers.csv; None where there is nothing to measure. Spikes are per image.

        mean_activation: of the ANN's activations above zero, in thresholds.
        """
        norms, shares = self.norms(), self.shares()
        figures: Row = {
            "layer": self.name,
            "channels": len(self.channels["fired"]),
            "neurons": self.neurons,
        }
        figures |= {"mean_activation": self.mean_activation, "error": self.relative_error}
        figures |= {_key(name): norms[name] for name in (*OWN, "own", "inherited", *INHERITED)}
        figures |= {f"share_{_key(name)}": shares[name] for name in PARTS}
        figures["saturated_neurons"] = self.saturated / self.sites
        figures |= {
            f"{kind}_channels": self.count(kind) for kind in ("saturated", "silent", "dead")
        }
        figures |= {"sin_16": self.sin(16), "sin_T": self.sin(self.T), "rate": self.rate}
        figures["spikes"] = self.spikes[self.T] / self.images
        return finite(figures)


def short(name: str) -> str:
    """A layer's name without what all of a darknet network's have: layers_10_act -> 10."""
    return name.removeprefix("layers_").removesuffix("_act")


def _key(part: str) -> str:
    name = part.replace(" ", "_").replace("-", "_")
    return f"inherited_{name}" if part in INHERITED else name


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())
