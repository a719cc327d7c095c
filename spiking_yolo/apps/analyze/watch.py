"""What the layers of one image do during a run, kept by a probe: sums, wrong spikes, and a sample
of neurons.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.graph import Activation
from spiking_yolo.snn.layout import per_channel
from spiking_yolo.snn.neurons import NeuronLayer

ACTIVE, INACTIVE = 300, 60  # neurons of a sample


class LayerWatch:
    """One layer: what it received and sent in total, and how many neurons fired against the ANN's
    sign, by step.

    before: the ANN's pre-activation. wrong[t - 1]: neurons that sent a spike of the wrong sign
    within t steps; of a pair, ON neurons whose pre-activation is not positive and OFF neurons whose
    is not negative. A signed memory neuron that takes back a spike has not sent a wrong one: there
    the sign of the sum counts. eligible: neurons that could.
    """

    def __init__(self, before: Tensor, phi: Activation, T: int):
        self.before, self.signed, self.T = before, bool(phi.slope) or phi.silu, T
        self.received, self.sent = torch.zeros_like(before), torch.zeros_like(before)
        self.wrong: list[int] = []
        self.eligible = 0
        self._positive, self._negative = before > 0, before < 0
        self._ever: Tensor | None = None
        self._half = (0, [0.0, 0.0])

    def see(self, t: int, layer: NeuronLayer, current: Tensor | None) -> None:
        self._fill(t - 1)
        self.layer = layer
        if current is not None:
            self.received += current
        self.sent.addcmul_(layer.out, per_channel(layer.theta, layer.out))
        self.wrong.append(self._wrong(layer))
        if t == self.T // 2:
            self._half = (t, [side.count.clone() for side in layer.sides])

    def _fill(self, t: int) -> None:
        """A settled layer is not seen: nothing changes in it."""
        self.wrong += self.wrong[-1:] * (t - len(self.wrong))

    def _wrong(self, layer: NeuronLayer) -> int:
        if len(layer.sides) > 1 or not self.signed:
            inactive = [~self._positive, ~self._negative][: len(layer.sides)]
            self.eligible = sum(int(mask.sum()) for mask in inactive)
            fired = (
                (side.count > 0) & mask for side, mask in zip(layer.sides, inactive, strict=True)
            )
            return sum(int(mask.sum()) for mask in fired)
        seen = self.sent if layer.recipe.neuron_kind.memory else layer.out
        wrong = ((seen > 0) & ~self._positive) | ((seen < 0) & ~self._negative)
        ever = self._ever = wrong if self._ever is None else self._ever.logical_or_(wrong)
        self.eligible = ever.numel()
        return int(ever.sum())

    def finish(self) -> None:
        self._fill(self.T)

    def saturated(self) -> Tensor:
        """Where a neuron sent gamma spikes in every step of the run's second half, bool [N, C,
        ...].
        """
        since, counts = self._half
        most = self.layer.settings.gamma * (self.T - since)
        full = [
            side.count - old >= most for side, old in zip(self.layer.sides, counts, strict=False)
        ]
        return full[0] if len(full) == 1 else full[0] | full[1]

    def fired(self) -> Tensor:
        """Where a neuron sent a spike; of a pair, the ON neuron."""
        return self.layer.sides[0].count > 0


@dataclass
class NeuronSample:
    """Some neurons of one layer, followed in every step. theta[k], potential[k]: of step t[k],
    float [neurons].

    activation: the ANN's, float [neurons]. top: Theta, the threshold that the statistics gave. The
    potential is the one after the reset; of a signed memory neuron, what it has not sent yet. Of a
    pair the ON neurons are followed.
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


def choose(name: str, after: Tensor, theta: Tensor, seed: int = 0) -> NeuronSample:
    """A sample of a layer's neurons for one image: active ones at all magnitudes, and some inactive
    ones.

    after: the ANN's activation [1, C, ...]. theta: [C].
    """
    flat = after.flatten()
    order = flat.argsort(descending=True).cpu()
    positive = int((flat > 0).sum())
    ranks = (
        np.unique(np.geomspace(1, positive, ACTIVE).round().astype(int)) - 1
        if positive
        else np.zeros(0, int)
    )
    rest = np.random.default_rng(seed).permutation(np.arange(positive, len(flat)))[:INACTIVE]
    index = order[torch.from_numpy(np.concatenate([ranks, rest]))].to(after.device)
    where = torch.unravel_index(index, after.shape)
    return NeuronSample(
        name, flat[index].cpu().numpy(), theta.to(after.device)[where[1]].cpu().numpy(), where
    )


class Watch:
    """A probe for SpikingNetwork.run: one LayerWatch per layer, and the sample of one of them."""

    def __init__(self, before: Mapping[str, tuple[Tensor, Activation]], T: int):
        """before: layer -> the ANN's pre-activation and its activation function."""
        self.layers = {name: LayerWatch(z, phi, T) for name, (z, phi) in before.items()}
        self.sample: NeuronSample | None = None

    def __call__(self, name: str, t: int, layer: NeuronLayer, current: Tensor | None) -> None:
        self.layers[name].see(t, layer, current)
        if self.sample is not None and self.sample.name == name:
            self.sample.see(t, layer)
