"""The scale of MSAT's rule: its gain, and the fraction of Theta at which it starts."""

from math import exp, log, sqrt

import pytest
import torch
from helpers.methods import neuron
from helpers.msat import MSAT, SETTINGS, VALUES, drive
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking_yolo.snn.neurons.msat import fraction_at_rest, gain_for


def test_normalised_units_settle_near_two_thirds_of_theta():
    """On constant inputs spread over the range; at T = 64 that costs accuracy against a fixed
    Theta.
    """
    zs = [k / 20 for k in range(1, 20)]
    runs = [drive(neuron(MSAT, 3), [3 * z] * 64) for z in zs]
    late = [theta / 3 for run in runs for theta, _, _ in run[32:]]
    assert 0.6 < sum(late) / len(late) < 0.75

    def error(run: list, z: float) -> float:
        return (sum(theta * n for theta, n, _ in run) / 64 / 3 - z) ** 2

    fixed = [drive(neuron(MSAT.with_settings(SETTINGS["neither"]), 3), [3 * z] * 64) for z in zs]
    adaptive, constant = (
        sqrt(sum(map(error, runs, zs)) / sum(z * z for z in zs)) for runs in (runs, fixed)
    )
    assert 0.005 < constant < 0.02 < adaptive < 0.1


@settings(deadline=None, max_examples=40)
@given(VALUES, st.sampled_from(sorted(SETTINGS)), st.integers(-4, 4))
def test_normalised_units_do_not_depend_on_the_scale(zs: list[float], setting: str, j: int):
    recipe = MSAT.with_settings(SETTINGS[setting])
    scale = 2.0**j
    plain, scaled = drive(neuron(recipe), zs), drive(neuron(recipe, scale), [z * scale for z in zs])
    assert scaled == [(theta * scale, n, u * scale) for theta, n, u in plain]


terms = st.sampled_from([(True, True), (True, False), (False, True)])


@settings(deadline=None)
@given(
    terms,
    st.floats(0.1, 20),
    st.floats(0.1, 8),
    st.floats(0, 4),
    st.floats(0, 2),
    st.booleans(),
    st.booleans(),
)
def test_the_starting_fraction(
    terms: tuple[bool, bool],
    gain: float,
    tau_mp: float,
    tau_rd: float,
    k_a: float,
    mu: bool,
    paired: bool,
):
    """Of a neuron that receives next to nothing, in the second step: U is its own mean. In float64,
    but not below.
    """
    dtt, det = terms
    values = {
        "dtt": dtt,
        "det": det,
        "tau_mp": tau_mp,
        "tau_rd": tau_rd,
        "k_a": k_a,
        "mu": mu,
        "gain": gain,
    }
    s = (
        recipe := MSAT.with_settings(
            {f"msat.{k}": v for k, v in values.items()} | {"msat.floor": 0}
        )
    ).msat
    u = (tau_mp * (k_a * log(2) - gain) if dtt else 0) + (tau_rd * (1 + mu) if det else 0)
    expected = pytest.approx(1 / (1 + exp(-u)), rel=1e-9)
    assert fraction_at_rest(torch.tensor([gain], dtype=torch.float64), s).item() == expected
    layer = neuron(recipe, 5.0, slope=0.1 if paired else 0)
    for _ in range(2):
        layer(torch.full((1, 1), 1e-12, dtype=torch.float64))
    assert all(side.threshold.item() / side.theta.item() == expected for side in layer.sides[:1])
    if dtt and not mu:
        assert gain_for(1 / (1 + exp(-u)), s) == pytest.approx(gain, rel=1e-6, abs=1e-6)


def test_the_papers_starting_fractions():
    """sigmoid(ln 2 - Theta) with DTT, sigmoid(ln 2 + 1 - Theta) with both: .42 and .67 at 1, .09
    and .21 at 3.
    """
    dtt = MSAT.with_settings({"msat.det": False}).msat
    got = [
        fraction_at_rest(torch.tensor([k]), s).item() for k in (1.0, 3.0) for s in (dtt, MSAT.msat)
    ]
    assert got == pytest.approx([0.424, 0.667, 0.091, 0.213], abs=1e-3)


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
