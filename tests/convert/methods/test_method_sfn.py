"""Scale-and-fire neurons: T steps of integrate and fire as one message."""

from helpers.methods import fired
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.convert.methods import get_recipe

RECIPE = get_recipe("sfn")


@given(st.floats(-0.5, 2, width=32), st.floats(0.25, 5, width=32), st.integers(1, 64))
def test_it_sends_what_integrate_and_fire_sends_in_T_steps(x: float, theta: float, T: int):
    """A constant current within 0..theta, where the neuron never falls behind; v(0) = theta / 2."""
    if abs((x * T / theta + 0.5) % 1 - 0.5) > 0.5 - 1e-3:
        return  # on the edge between two values
    potential, spikes = theta / 2, 0
    for _ in range(T):
        potential += x
        if potential >= theta:
            potential -= theta
            spikes += 1
    recipe = RECIPE.with_settings({"neuron.gamma": T})
    assert fired(recipe, x, theta=theta / T) == spikes
