"""Spiking neurons: a family of kinds per file, and the layer that they share."""

from collections.abc import Mapping

from torch import Tensor

from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.neurons.integrate_and_fire import ImbalancedThreshold, IntegrateAndFire
from spiking_yolo.snn.neurons.layer import BUILDERS, Clock, NeuronLayer, register
from spiking_yolo.snn.neurons.msat import MsatIntegrateAndFire
from spiking_yolo.snn.neurons.on_off import ConstantOnOff, OnOff
from spiking_yolo.snn.neurons.sigma_delta import SigmaDelta
from spiking_yolo.snn.plan import LayerPlan

__all__ = [
    "Clock",
    "ConstantOnOff",
    "ImbalancedThreshold",
    "IntegrateAndFire",
    "MsatIntegrateAndFire",
    "NeuronLayer",
    "OnOff",
    "SigmaDelta",
    "build_neurons",
    "register",
]


def build_neurons(
    parameters: Mapping[str, Tensor], recipe: Recipe, phi: Activation, plan: LayerPlan = LayerPlan()
) -> NeuronLayer:
    """The layer of neurons at one activation; of pairs for leaky ReLU, if neurons have one sign.

    The levels of phi (QCFS) do not matter here: spikes make a grid of their own, which is the same
    one for theta = cap and T = levels.

    Args:
        parameters: See NeuronLayer.
        recipe: Says which kind of neuron it is.
        phi: The activation to follow; see convert.thresholds.check_activations.
    """
    builder = BUILDERS[recipe.neuron.kind]
    if not phi.slope or recipe.neuron_kind.signed:
        return builder(parameters, recipe, phi, plan)
    pair = OnOff
    if ConstantOnOff.is_enough(parameters, recipe, plan):
        pair = ConstantOnOff
    return pair(parameters, recipe, phi, plan, builder)
