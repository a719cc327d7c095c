"""Opt.: half a threshold, spread over the run, turns flooring into rounding at t = T_shift."""

from fractions import Fraction
from math import floor

from helpers.methods import neuron, send
from helpers.scalar_neurons import thetas
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking_yolo.convert.methods import get_recipe

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
