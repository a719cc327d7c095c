"""The layer of spiking neurons that a recipe asks for, and the registration of new kinds."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe
from spiking_yolo.recipe.kinds import KINDS, Kind
from spiking_yolo.snn.neurons.layer import NeuronLayer
from spiking_yolo.snn.neurons.on_off import ConstantOnOff, OnOff
from spiking_yolo.snn.plan import LayerPlan

Builder = Callable[..., NeuronLayer]
B = TypeVar("B", bound=Builder)

# neuron.kind -> what makes a layer of it, from the arguments of NeuronLayer.
BUILDERS: dict[str, Builder] = {}


def register(kind: str, **properties: Any) -> Callable[[B], B]:
    """Decorator: let neuron.kind=KIND ask for this subclass of NeuronLayer, or for this function.

    The same class may be registered again, as in the cell of a notebook.

    Args:
        kind: Its name.
        properties: The fields of `spiking_yolo.recipe.kinds.Kind` that say what it is and can do;
            the kinds of this package have theirs in that file.

    Raises:
        ValueError: The name is taken by another class, or the properties are wrong.

    Example:
        >>> @register("leaky", follows=("slope",))
        ... class Leaky(NeuronLayer): ...
    """

    def add(builder: B) -> B:
        owner = BUILDERS.get(kind, builder)
        if (owner.__module__, owner.__qualname__) != (builder.__module__, builder.__qualname__):
            raise ValueError(
                f"neuron.kind={kind} is taken by {owner.__module__}.{owner.__qualname__}:"
                " choose another name"
            )
        new = KINDS.get(kind)
        if new is None or properties:
            new = Kind(**properties)
        if getattr(builder, "differential", False) and not new.differential:
            raise ValueError(f"{kind} sends changes: register it with differential=True")
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
        phi: The activation to follow.

    Raises:
        UserError: The neurons cannot follow phi.
    """
    for reason in _refusals(parameters, recipe, phi):
        raise UserError(f"node {plan.name!r} {reason}")
    builder = BUILDERS[recipe.neuron.kind]
    if not phi.slope or recipe.neuron_kind.signed:
        return builder(parameters, recipe, phi, plan)
    pair = OnOff
    if ConstantOnOff.is_enough(parameters, recipe, plan):
        pair = ConstantOnOff
    return pair(parameters, recipe, phi, plan, builder)


def _refusals(parameters: Mapping[str, Tensor], recipe: Recipe, phi: Activation) -> Iterator[str]:
    """Why neurons of a recipe cannot take this place."""
    kind = recipe.neuron_kind
    if phi.gate is not None and phi.gate.name not in kind.follows:
        yield (
            f"({phi.gate.title}) needs neurons that follow the sum of their input:"
            " neuron.kind=sigma-delta"
        )
    if phi.softmax:
        yield "(softmax of attention) needs neurons that send complete values: signed-digits"
    if phi.cap is not None and phi.slope:
        yield "is a leaky ReLU with a cap, which cannot be converted: train with slope 0"
    if phi.cap is not None and kind.msat and recipe.msat.variant == "algorithm1":
        # Its threshold falls to nothing while the potential of a saturated neuron grows.
        yield "has a cap, which msat.variant=algorithm1 cannot keep: --set msat.variant=eq17"
    for what, value in (("slope", phi.slope), ("cap", phi.cap)):
        if value and what not in kind.follows:
            yield (
                f"has a {what} of {value:g}, which neuron.kind={recipe.neuron.kind} cannot follow:"
                " sigma-delta can, and if as ON/OFF pairs"
            )
