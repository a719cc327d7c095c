"""Which layer of spiking neurons a recipe asks for."""

from collections.abc import Mapping

from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.coding import CODINGS
from spiking_yolo.snn.fast.backend import Backend
from spiking_yolo.snn.neurons.integrate_and_fire import ImbalancedThreshold, IntegrateAndFire
from spiking_yolo.snn.neurons.kinds import KINDS, register
from spiking_yolo.snn.neurons.layer import NeuronLayer
from spiking_yolo.snn.neurons.msat import MsatIntegrateAndFire, MsatSignedMemory
from spiking_yolo.snn.neurons.on_off import ConstantOnOff, OnOff
from spiking_yolo.snn.neurons.signed import SignedMemory
from spiking_yolo.snn.plan import LayerPlan


def build_neurons(
    parameters: Mapping[str, Tensor],
    recipe: Recipe,
    phi: Activation,
    plan: LayerPlan = LayerPlan(),
    backend: Backend | None = None,
) -> NeuronLayer:
    """The layer of neurons for one activation site; see NeuronLayer for the parameters.

    The levels of phi (QCFS) do not matter here: spikes make a grid of their own, which with theta =
    cap and T = levels is the same one. Raises UserError for what the kind of neuron cannot follow,
    for a leaky ReLU with a cap, for a value at rest where it does not stay or its events are not
    counted apart, and for a cap with Algorithm 1 of MSAT, whose threshold falls to nothing while
    the potential of a saturated neuron grows.
    """
    kind, name = KINDS[recipe.neuron.kind], plan.name
    if phi.silu and "silu" not in kind.follows:
        raise UserError(
            f"node {name!r} (SiLU) needs neurons that follow the sum of their input:"
            " neuron.kind=memory"
        )
    if phi.cap is not None and phi.slope:
        raise UserError(
            f"node {name!r}: a leaky ReLU with a cap cannot be converted: train with a cap and"
            " slope 0"
        )
    if phi.cap is not None and recipe.msat.enabled and recipe.msat.variant == "algorithm1":
        raise UserError(
            f"node {name!r} has a cap, which msat.variant=algorithm1 cannot keep: --set"
            " msat.variant=eq17"
        )
    if "rest" in parameters and not (
        recipe.neuron.events == "digits" and CODINGS[recipe.encoding.coding].once
    ):
        raise UserError(
            f"node {name!r} has neurons with a value at rest, which need neuron.events=digits and "
            "encoding.coding=differential: choose the method that they were calibrated for"
        )
    for what, asked in (("slope", phi.slope), ("cap", phi.cap)):
        if asked and what not in kind.follows:
            raise UserError(
                f"node {name!r} has a {what} of {asked:g}, which neuron.kind={recipe.neuron.kind}"
                " cannot follow: neuron.kind=memory can, and neuron.kind=if as ON/OFF pairs"
            )
    return kind.build(parameters, recipe, phi, plan, backend)


@register("ibt", follows=("slope", "cap"))
@register("if", follows=("slope", "cap"))
def _integrate_and_fire(
    parameters: Mapping[str, Tensor],
    recipe: Recipe,
    phi: Activation,
    plan: LayerPlan,
    backend: Backend | None,
) -> NeuronLayer:
    """IF neurons for ReLU; for leaky ReLU an ON/OFF pair of them, or signed ones with an imbalanced
    threshold.
    """
    if phi.slope == 0:
        bounded = Activation() if saturates(parameters["theta"], phi, recipe) else phi
        kind = MsatIntegrateAndFire if recipe.msat.enabled else IntegrateAndFire
        return kind(parameters, recipe, bounded, plan, backend)
    if recipe.neuron.kind == "ibt":
        return ImbalancedThreshold(parameters, recipe, phi, plan, backend)
    alone = plan.constant and not plan.observed and ConstantOnOff.is_enough(parameters, recipe)
    return (ConstantOnOff if alone else OnOff)(parameters, recipe, phi, plan, backend)


@register("memory", follows=("slope", "cap", "silu"))
def _memory(
    parameters: Mapping[str, Tensor],
    recipe: Recipe,
    phi: Activation,
    plan: LayerPlan,
    backend: Backend | None,
) -> NeuronLayer:
    return (MsatSignedMemory if recipe.msat.enabled else SignedMemory)(
        parameters, recipe, phi, plan, backend
    )


def saturates(theta: Tensor, phi: Activation, recipe: Recipe) -> bool:
    """Whether IF neurons cannot pass the cap anyway: gamma spikes per step are worth at most the
    cap (if there is one).

    So it is with the threshold at the cap and one spike per step, the neuron of Deng 2021 and Bu
    2022. The thresholds of MSAT's Eq. 17 stay below Theta.
    """
    return phi.cap is None or not bool((recipe.neuron.gamma * theta > phi.cap).any())
