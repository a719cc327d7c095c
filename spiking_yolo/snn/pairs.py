"""The pair of neurons for leaky ReLU, and what of it is needed where the current never changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor

from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.adaptive import AdaptiveIntegrateAndFire
from spiking_yolo.snn.blocks import rows
from spiking_yolo.snn.fixed import IntegrateAndFire
from spiking_yolo.snn.layer import Layer
from spiking_yolo.snn.msat import without_potential


class OneOfTwo(AdaptiveIntegrateAndFire):
    """Of each pair the one that fires at all, see OnOffPair; it keeps the spikes that this one would keep."""

    in_thresholds = True
    positive: Tensor  # in rows, uint8: 1 where that is the ON neuron, 0 where it is the OFF neuron

    def _kept(self, name: str) -> Tensor:
        on, off = (super(OneOfTwo, self)._kept(f"{name}/{side}") for side in ("on", "off"))
        # where positive on, else off; torch.where takes fifty times as long
        return on.bitwise_xor_(off).bitwise_and_(self.positive).bitwise_xor_(off)


class OnOffPair(Layer):
    """Two neurons for leaky ReLU: ON integrates z, OFF integrates -z.

    Sent: n_on * theta_on - slope * n_off * theta_off, in units of theta_on. Both neurons' spikes are counted.

    Of a pair whose current never changes one never fires: its potential starts at 0 and does not rise. Where nobody
    watches the two, only the other is computed, as a neuron that receives |z| / theta and has the threshold 1.
    """

    neurons_per_site = 2

    def __init__(self, params: Mapping[str, Tensor], recipe: Recipe, phi: Activation, name: str = ""):
        super().__init__(params, recipe, phi, name)
        neuron = AdaptiveIntegrateAndFire if recipe.msat.enabled else IntegrateAndFire
        both = {k: v for k, v in params.items() if k != "bias"}  # the pair adds it before the sign is turned
        self.on = neuron(both, recipe, Activation(), f"{name}/on")
        off = {"theta": params["theta_off"], "initial": params.get("initial_off", params["initial"])}
        self.off = neuron({**both, **off}, recipe, Activation(), f"{name}/off")
        self.off.sign = -1
        alone = OneOfTwo if recipe.msat.enabled else IntegrateAndFire
        start = {"theta": torch.ones(1), "initial": torch.zeros(())}
        self.one = alone({**both, **start}, recipe, Activation(), name)
        rises = self.on.params["initial"].any() or self.off.params["initial"].any() or recipe.neuron.shift
        self._one_is_enough = not rises and not self._switches and recipe.msat.units == "normalised"

    def _names(self) -> tuple[str, ...]:
        return ()

    @property
    def count(self) -> Tensor:
        if self.watched:
            return self.on.count + self.off.count
        return self.one.count if self._one_fires else self.on.count

    @property
    def events(self) -> Tensor:
        return self.on.events + self.off.events if self._switches else self.count

    @property
    def _one_fires(self) -> bool:
        return self.constant and self._one_is_enough and not self.watched

    @property
    def members(self) -> tuple[Layer, ...]:
        return (self, *self._neurons)

    @property
    def _neurons(self) -> tuple[Layer, ...]:
        return (self.one,) if self._one_fires else (self.on, self.off)

    def reset(self, keys: Sequence[int] = (), watched: bool = True) -> None:
        super().reset(keys, watched)
        for neuron in self._neurons:
            neuron.reset(keys, watched)

    def _begin(self, current: Tensor) -> None:
        super()._begin(current)
        if self._one_fires:
            return self._begin_one(current)
        for neuron in self._neurons:
            neuron.scratch = self.scratch
            neuron._begin(current)
        for b, on, off in zip(self._blocks, self.on._blocks, self.off._blocks, strict=True):
            b.on, b.off = on, off
            if self.watched:
                on.out, off.out, off.count = (rows(x)[b.part] for x in (self.on.out, self.off.out, self.off.count))
            else:  # nobody asks what each of them sent, so it need not go through memory
                (on.out, off.out), off.count = b.scratch[3:5], on.count

    def _begin_one(self, current: Tensor) -> None:
        received = [
            self._biased(b, z.to(self._dtype)) for b, z in zip(self._blocks, self._split(rows(current)), strict=True)
        ]
        if isinstance(self.one, OneOfTwo):
            self.one.positive = torch.cat([z > 0 for z in received]).view(torch.uint8)
        self.one.scratch = self.scratch
        self.one._begin(current)
        for b, one, z in zip(self._blocks, self.one._blocks, received, strict=True):
            positive = z > 0
            b.one, b.current = one, z.abs() / torch.where(positive, b.theta, b.theta_off)
            b.value = torch.where(positive, 1.0, b.weight)
            one.out = b.scratch[3]
            if isinstance(self.one, OneOfTwo):
                rule = self.one.rule
                one.constant = without_potential(b.current, rule.top, rule.settings, torch.empty_like(b.current), None)

    def _parameters(self) -> dict[str, Tensor]:
        theta, off = (self.params[name].to(self._dtype) for name in ("theta", "theta_off"))
        return {**super()._parameters(), "theta_off": off, "weight": -self.slope * off / theta}

    def _emit(self, b: SimpleNamespace, z: Tensor) -> Tensor:
        if self._one_fires:
            return torch.mul(self.one._emit(b.one, b.current), b.value, out=b.out)
        z = self._biased(b, z.to(self._dtype))
        on, off = self.on._emit(b.on, z), self.off._emit(b.off, z)
        return torch.addcmul(on, off, b.weight, out=b.out)

    def _finish(self) -> None:
        super()._finish()
        for neuron in self._neurons:
            neuron._finish()

    def _start(self) -> None:
        """A pair has no potential of its own."""
