"""Opt.: half a threshold, spread over the run, turns flooring into rounding at t = T_shift."""

from fractions import Fraction
from math import floor

import pytest
from helpers.methods import neuron, send
from helpers.scalar_neurons import thetas
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import UserError

OPT = get_recipe("opt")


def test_shift_by_hand():
    """theta = 1, T_shift = 4: each step adds 1/8. z = 3/8: U = 4/8, 8/8 - 1, 4/8, 8/8 - 1."""
    shifted = OPT.with_settings({"neuron.shift": 4})
    layer = neuron(shifted)
    assert send(layer, [3 / 8] * 4) == [0, 1, 0, 1] and layer.potential.item() == 0
    assert sum(send(neuron(shifted.with_settings({"neuron.shift": 0})), [3 / 8] * 4)) == 1


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 6), st.integers(0, 64), thetas)
def test_at_its_step_the_shift_equals_a_start_at_half_a_threshold(
    log2: int, n: int, theta: Fraction
):
    """Both round T * z / theta; before that step the shift has added less, and after it more."""
    T, z = 2**log2, Fraction(n, 64) * theta
    recipes = (
        OPT.with_settings({"neuron.shift": shift, "neuron.initial": initial})
        for shift, initial in ((T, 0.0), (0, 0.5))
    )
    shifted, half = (send(neuron(recipe, theta), [z] * T) for recipe in recipes)
    assert sum(shifted) == sum(half) == min(floor(T * z / theta + Fraction(1, 2)), T)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-128, 64), min_size=1, max_size=30))
def test_conservation_with_the_shift(ns: list[int]):
    """Sum of z + t * theta / (2 T_shift) = what was sent + U."""
    layer = neuron(OPT.with_settings({"neuron.shift": 8}), 2)
    sent = send(layer, [n / 32 for n in ns])
    assert sum(ns) / 32 + len(ns) * 2 / 16 == 2 * sum(sent) + layer.potential.item()


def test_the_shift_takes_the_place_of_the_initial_potential():
    with pytest.raises(UserError, match=r"neuron\.shift needs .*neuron\.initial=0"):
        OPT.with_settings({"neuron.initial": 0.5})
