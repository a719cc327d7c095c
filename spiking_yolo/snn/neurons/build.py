"""The layer of spiking neurons that a recipe asks for, and the registration of new kinds."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor

from spiking_yolo.graph import Activation
from spiking_yolo.recipe import KINDS, Kind, Recipe
from spiking_yolo.snn.neurons.layer import NeuronLayer
from spiking_yolo.snn.neurons.on_off import ConstantOnOff, OnOff
from spiking_yolo.snn.plan import LayerPlan

Builder = Callable[..., NeuronLayer]
B = TypeVar("B", bound=Builder)

# neuron.kind -> what makes a layer of it, from the arguments of NeuronLayer.
BUILDERS: dict[str, Builder] = {}


def register(kind: str, **properties: Any) -> Callable[[B], B]:
    """Decorator: let neuron.kind=KIND ask for this subclass of NeuronLayer, or for this function.

    Args:
        kind: Its name.
        properties: The fields of `spiking_yolo.recipe.Kind` that say what it is and can do;
            the kinds of this package have theirs in that file.

    Example:
        >>> @register("leaky", follows=("slope",))
        ... class Leaky(NeuronLayer): ...
    """

    def add(builder: B) -> B:
        new = KINDS.get(kind)
        if new is None or properties:
            new = Kind(**properties)
        KINDS[kind] = new
        BUILDERS[kind] = builder
        return builder

    return add


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
