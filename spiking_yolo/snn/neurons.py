"""Layers of spiking neurons: the pair for leaky ReLU, and which kind a recipe asks for.

A layer receives a current in the units of the ANN and sends *spikes*, counted: the value of a spike is `unit`, which
the next layer's weights absorb. Neurons of a fixed threshold are in fixed.py, those of MSAT in adaptive.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor

from ..errors import UserError
from ..graph import Activation
from ..recipe import Recipe
from .adaptive import CONFIDENCE_STEPS, AdaptiveIntegrateAndFire, AdaptiveSignedMemory
from .blocks import rows
from .fixed import ImbalancedThreshold, IntegrateAndFire, SignedMemory
from .layer import Layer, per_channel

__all__ = [
    "CONFIDENCE_STEPS",
    "AdaptiveIntegrateAndFire",
    "AdaptiveSignedMemory",
    "ImbalancedThreshold",
    "IntegrateAndFire",
    "Layer",
    "OnOffPair",
    "SignedMemory",
    "build",
    "per_channel",
]


class OnOffPair(Layer):
    """Two neurons for leaky ReLU: ON integrates z, OFF integrates -z.

    Sent: n_on * theta_on - slope * n_off * theta_off, in units of theta_on. Both neurons' spikes are counted.
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

    def _names(self) -> tuple[str, ...]:
        return ()

    @property
    def count(self) -> Tensor:
        return self.on.count + self.off.count if self.watched else self.on.count

    @property
    def events(self) -> Tensor:
        return self.on.events + self.off.events

    def reset(self, keys: Sequence[int] = (), watched: bool = True) -> None:
        super().reset(keys, watched)
        self.on.reset(keys, watched)
        self.off.reset(keys, watched)

    def _begin(self, current: Tensor) -> None:
        self.on.scratch = self.off.scratch = self.scratch
        super()._begin(current)
        self.on._begin(current)
        self.off._begin(current)
        for b, on, off in zip(self._blocks, self.on._blocks, self.off._blocks, strict=True):
            b.on, b.off = on, off
            if self.watched:
                on.out, off.out, off.count = (rows(x)[b.part] for x in (self.on.out, self.off.out, self.off.count))
            else:  # nobody asks what each of them sent, so it need not go through memory
                (on.out, off.out), off.count = b.scratch[3:5], on.count

    def _parameters(self) -> dict[str, Tensor]:
        theta, off = (self.params[name].to(self._dtype) for name in ("theta", "theta_off"))
        return {**super()._parameters(), "weight": -self.slope * off / theta}

    def _emit(self, b: SimpleNamespace, z: Tensor) -> Tensor:
        z = self._biased(b, z.to(self._dtype))
        on, off = self.on._emit(b.on, z), self.off._emit(b.off, z)
        return torch.addcmul(on, off, b.weight, out=b.out)

    def _finish(self) -> None:
        super()._finish()
        self.on._finish()
        self.off._finish()

    def _start(self) -> None:
        """A pair has no potential of its own."""


def saturates(theta: Tensor, phi: Activation, recipe: Recipe) -> bool:
    """Whether IF neurons cannot pass the cap anyway: gamma spikes per step are worth at most the cap (if there is one).

    So it is with the threshold at the cap and one spike per step, the neuron of Deng 2021 and Bu 2022. The thresholds
    of MSAT's Eq. 17 stay below Theta.
    """
    return phi.cap is None or not bool((recipe.neuron.gamma * theta > phi.cap).any())


def build(params: Mapping[str, Tensor], recipe: Recipe, phi: Activation, name: str = "") -> Layer:
    """The layer for one activation site; see Layer for params, which has `theta_off` where a pair is needed.

    The levels of phi (QCFS) do not matter here: spikes make a grid of their own, which with theta = cap and T = levels
    is the same one. Raises UserError for a leaky ReLU with a cap, for SiLU with neurons other than signed memory, and
    where there is a cap for Algorithm 1 of MSAT, whose threshold falls to nothing while the potential of a saturated
    neuron grows.
    """
    kind, adaptive = recipe.neuron.kind, recipe.msat.enabled
    if phi.silu and kind != "memory":
        raise UserError(f"node {name!r} (SiLU) needs neurons that follow the sum of their input: neuron.kind=memory")
    if phi.cap is not None and phi.slope:
        raise UserError(f"node {name!r}: a leaky ReLU with a cap cannot be converted: train with a cap and slope 0")
    if phi.cap is not None and adaptive and recipe.msat.variant == "algorithm1":
        raise UserError(f"node {name!r} has a cap, which msat.variant=algorithm1 cannot keep: --set msat.variant=eq17")
    if kind == "memory":
        return (AdaptiveSignedMemory if adaptive else SignedMemory)(params, recipe, phi, name)
    if phi.slope == 0:
        bounded = Activation() if saturates(params["theta"], phi, recipe) else phi
        return (AdaptiveIntegrateAndFire if adaptive else IntegrateAndFire)(params, recipe, bounded, name)
    return (ImbalancedThreshold if kind == "ibt" else OnOffPair)(params, recipe, phi, name)
