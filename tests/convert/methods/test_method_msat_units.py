"""The scale of MSAT's rule: its gain, and the fraction of Theta at which it starts."""

from math import exp, log

import pytest
import torch
from helpers.methods import neuron
from helpers.msat import MSAT, SETTINGS, VALUES, drive
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking_yolo.recipe import Msat
from spiking_yolo.snn.neurons.msat import threshold_ratio


def fraction_at_rest(top: torch.Tensor, s: Msat) -> torch.Tensor:
    """theta(1) / Theta of a neuron that receives little: U = Ubar, z = 0."""
    zero = [torch.zeros_like(top) for _ in range(3)]
    return threshold_ratio(*zero, top, s, torch.empty_like(top))


@settings(deadline=None, max_examples=40)
@given(VALUES, st.sampled_from(sorted(SETTINGS)), st.integers(-4, 4))
def test_normalised_units_do_not_depend_on_the_scale(zs: list[float], setting: str, j: int):
    recipe = MSAT.with_settings(SETTINGS[setting])
    scale = 2.0**j
    plain, scaled = drive(neuron(recipe), zs), drive(neuron(recipe, scale), [z * scale for z in zs])
    assert scaled == [(theta * scale, n, u * scale) for theta, n, u in plain]


RULES = st.fixed_dictionaries(
    {
        "gain": st.floats(0.1, 20),
        "tau_mp": st.floats(0.1, 8),
        "tau_rd": st.floats(0, 4),
        "k_a": st.floats(0, 2),
        "mu": st.booleans(),
    }
)


@settings(deadline=None)
@given(st.sampled_from([(True, True), (True, False), (False, True)]), RULES, st.booleans())
def test_the_starting_fraction(terms: tuple[bool, bool], rule: dict[str, float], paired: bool):
    """Of a neuron that receives next to nothing, in the second step: U is its own mean. In float64,
    but not below.
    """
    dtt, det = terms
    values = {**rule, "dtt": dtt, "det": det, "floor": 0}
    recipe = MSAT.with_settings({f"msat.{key}": value for key, value in values.items()})
    s = recipe.msat
    u = dtt * s.tau_mp * (s.k_a * log(2) - s.gain) + det * s.tau_rd * (1 + s.mu)
    expected = pytest.approx(1 / (1 + exp(-u)), rel=1e-9)
    assert fraction_at_rest(torch.tensor([s.gain], dtype=torch.float64), s).item() == expected
    layer = neuron(recipe, 5.0, slope=0.1 if paired else 0)
    for _ in range(2):
        layer(torch.full((1, 1), 1e-12, dtype=torch.float64))
    assert all(side.threshold.item() / side.theta.item() == expected for side in layer.sides[:1])


@settings(deadline=None, max_examples=40)
@given(
    VALUES,
    st.floats(0.3, 4),
    st.sampled_from([0.5, 1.0, 3.0]),
    st.sampled_from(["vgg16", "resnet20", "mu"]),
)
def test_a_gain_is_the_authors_neuron_at_theta_k(
    zs: list[float], gain: float, top: float, setting: str
):
    """Whatever Theta is; the gain is a setting, or a parameter of the layer."""
    recipe = MSAT.with_settings(SETTINGS[setting])
    own = neuron(recipe.with_settings({"msat.gain": gain}), gain)
    expected = [theta / gain for theta, _, _ in drive(own, [z * gain for z in zs])]
    known, found = (recipe.with_settings({"msat.gain": k}) for k in (gain, 0))
    runs = [drive(neuron(r, top, gain=gain), [z * top for z in zs]) for r in (known, found)]
    assert runs[0] == runs[1]
    assert [theta / top for theta, _, _ in runs[0]] == pytest.approx(expected, rel=1e-6)
