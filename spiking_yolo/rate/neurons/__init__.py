"""Spiking neurons: a family of kinds per file, and the layer that they share."""

from collections.abc import Mapping

from torch import Tensor

from spiking_yolo.graph import Activation

# These modules register their kinds when they are imported.
from spiking_yolo.rate.neurons import integrate_and_fire, msat, sigma_delta  # noqa: F401
from spiking_yolo.rate.neurons.layer import BUILDERS, NeuronLayer
from spiking_yolo.rate.neurons.on_off import ConstantOnOff, OnOff
from spiking_yolo.recipe import Recipe
from spiking_yolo.spikes.plan import LayerPlan


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
    pair = ConstantOnOff if ConstantOnOff.is_enough(parameters, recipe, plan) else OnOff
    return pair(parameters, recipe, phi, plan, builder)
