"""Which kind of spiking neurons a recipe asks for.

A layer receives a current in the units of the ANN and sends *spikes*, counted: the value of a spike is `unit`, which
the next layer's weights absorb. Neurons of a fixed threshold are in fixed.py, those of MSAT in adaptive.py, the pair
for leaky ReLU in pairs.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.adaptive import CONFIDENCE_STEPS, AdaptiveIntegrateAndFire, AdaptiveSignedMemory
from spiking_yolo.snn.fixed import ImbalancedThreshold, IntegrateAndFire, SignedMemory
from spiking_yolo.snn.layer import Layer, per_channel
from spiking_yolo.snn.pairs import OnOffPair

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
