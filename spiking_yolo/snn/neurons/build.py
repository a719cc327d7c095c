"""The layer of spiking neurons that a recipe asks for, and the registration of new kinds."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe
from spiking_yolo.recipe.kinds import KINDS, Kind
from spiking_yolo.snn.coding import CODINGS
from spiking_yolo.snn.fast import Backend
from spiking_yolo.snn.neurons.layer import NeuronLayer
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
        name = _full_name(builder)
        owner = _full_name(BUILDERS.get(kind, builder))
        if owner != name:
            raise ValueError(f"neuron.kind={kind} is taken by {owner}: choose another name")
        new = Kind(**properties) if properties or kind not in KINDS else KINDS[kind]
        if getattr(builder, "remembers", False) and not new.memory:
            raise ValueError(f"{name} remembers what it sent: register it with memory=True")
        KINDS[kind] = new
        BUILDERS[kind] = builder
        return builder

    return add


def _full_name(builder: Builder) -> str:
    return f"{builder.__module__}.{builder.__qualname__}"


def build_neurons(
    parameters: Mapping[str, Tensor],
    recipe: Recipe,
    phi: Activation,
    plan: LayerPlan = LayerPlan(),
    backend: Backend | None = None,
) -> NeuronLayer:
    """The layer of neurons at one activation.

    The levels of phi (QCFS) do not matter here: spikes make a grid of their own, which is the same
    one for theta = cap and T = levels.

    Args:
        parameters: See NeuronLayer.
        recipe: Says which kind of neuron it is.
        phi: The activation to follow.

    Raises:
        UserError: The neurons cannot follow phi, or cannot have a resting value.
    """
    follows, kind, where = recipe.neuron_kind.follows, recipe.neuron.kind, f"node {plan.name!r}"
    if phi.gate is not None and phi.gate.name not in follows:
        raise UserError(
            f"{where} ({phi.gate.title}) needs neurons that follow the sum of their input:"
            " neuron.kind=memory"
        )
    if phi.softmax and not ("softmax" in follows and CODINGS[recipe.encoding.coding].once):
        raise UserError(
            f"{where} (softmax of attention) needs neurons that send the changes of what they"
            " follow: encoding.coding=differential and neuron.kind=memory"
        )
    if phi.cap is not None and phi.slope:
        raise UserError(
            f"{where}: a leaky ReLU with a cap cannot be converted: train with a cap and slope 0"
        )
    if phi.cap is not None and recipe.msat.enabled and recipe.msat.variant == "algorithm1":
        # Its threshold falls to nothing while the potential of a saturated neuron grows.
        raise UserError(
            f"{where} has a cap, which msat.variant=algorithm1 cannot keep: --set msat.variant=eq17"
        )
    counts_digits = recipe.neuron.events == "digits"
    if "rest" in parameters and not (counts_digits and CODINGS[recipe.encoding.coding].once):
        raise UserError(
            f"{where} has neurons with a value at rest, which need neuron.events=digits and"
            " encoding.coding=differential: choose the method that they were calibrated for"
        )
    for what, value in (("slope", phi.slope), ("cap", phi.cap)):
        if value and what not in follows:
            raise UserError(
                f"{where} has a {what} of {value:g}, which neuron.kind={kind} cannot follow:"
                " neuron.kind=memory can, and neuron.kind=if as ON/OFF pairs"
            )
    return BUILDERS[kind](parameters, recipe, phi, plan, backend)
