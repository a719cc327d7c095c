"""Neurons of an activation with a cap: what they send follows t * min(relu(mean of z), cap), and
QCFS exactly.

Numbers are multiples of 1/64 and thresholds powers of two, so that float64 makes no error.
"""

from fractions import Fraction
from math import floor
from typing import Any

import pytest
from helpers.methods import neuron, send
from helpers.scalar_neurons import currents, gammas, initials, scalar_if, scalar_memory
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking_yolo.convert.thresholds import check_activations
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Activation, Graph, Node
from spiking_yolo.recipe import Msat, Neuron, Recipe

thetas = st.sampled_from([Fraction(1, 4), Fraction(1), Fraction(2)])
caps = st.integers(1, 300).map(lambda n: Fraction(n, 64))
HALF = Fraction(1, 2)


def capped(settings: Neuron, theta: Any, cap: Any, **msat: Any) -> Any:
    recipe = Recipe("test", neuron=settings, msat=Msat(**msat))
    return neuron(recipe, theta, cap=float(cap))


@settings(deadline=None)
@given(currents, thetas, gammas, initials, caps)
def test_integrate_and_fire(zs, theta, gamma, initial, cap):
    """Also where the bound is left out because the neuron saturates by itself."""
    tested = capped(Neuron(gamma=gamma, initial=float(initial)), theta, cap)
    assert send(tested, zs) == [n for n, _ in scalar_if(zs, theta, gamma, initial, cap=cap)]


@settings(deadline=None)
@given(currents, thetas, gammas, initials, caps)
def test_sigma_delta(zs: list, theta: Fraction, gamma: int, initial: Fraction, cap: Fraction):
    tested = capped(Neuron("sigma-delta", gamma=gamma, initial=float(initial)), theta, cap)
    assert send(tested, zs) == [n for n, _ in scalar_memory(zs, theta, gamma, initial, 0, cap)]


KINDS = {
    "if": (Neuron(), {}),
    "if, half": (Neuron(initial=0.5), {}),
    "if, shift": (Neuron(shift=64), {}),
    "burst": (Neuron(gamma=8), {}),
    "ibt": (Neuron("ibt"), {}),
    "switches": (Neuron(events="switches"), {}),
    "msat": (Neuron("msat", gamma=8), {"det": False}),
}


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from([*KINDS]),
    st.lists(st.floats(-5, 5), min_size=1, max_size=30),
    st.floats(0.1, 3),
    st.floats(0.1, 3),
)
def test_no_neuron_sends_more_than_the_cap_allows(kind: str, zs: list, theta: float, cap: float):
    """Whatever comes in, and with thresholds that no conversion would give: half a spike above cap
    * t at most.
    """
    chosen, msat = KINDS[kind]
    tested, total = capped(chosen, theta, cap, **msat), 0.0
    for t, z in enumerate(zs, 1):
        total += send(tested, [z])[0] * theta
        largest = max(getattr(tested, "threshold", tested.theta).max().item(), theta)
        assert total <= cap * t + largest / 2 + 1e-9


@given(
    st.integers(-400, 2000),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.sampled_from([Fraction(1, 2), Fraction(3), Fraction(8)]),
)
def test_qcfs_is_exact_after_as_many_steps_as_levels(n: int, levels: int, theta: Fraction):
    """Bu 2022: threshold theta, U(0) = theta / 2, T = L: the rate is clip(floor(z L / theta + 1/2)
    / L, 0, 1) theta.
    """
    # Not on the edge between two levels.
    z = theta * n / 1000 + Fraction(1, 4096)
    tested = capped(Neuron(initial=0.5), theta, theta)
    rate = int(sum(send(tested, [z] * levels))) * theta / levels
    level = min(max(floor(z * levels / theta + HALF), 0), levels)
    assert rate == Fraction(level, levels) * theta


def test_what_no_neuron_can_do_is_refused():
    def check(recipe: Recipe, phi: Activation) -> None:
        act = Node("act3", "activation", ("x",), vars(phi))
        check_activations(Graph((Node("x", "input"), act), ("act3",), {}), recipe)

    recipe = Recipe("r", neuron=Neuron("msat"), msat=Msat(variant="algorithm1"))
    with pytest.raises(UserError, match=r"node 'act3' has a cap.* --set msat.variant=eq17"):
        check(recipe, Activation(cap=6.0))
    check(recipe, Activation())
