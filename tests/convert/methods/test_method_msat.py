"""MSAT: thresholds and spikes against a scalar second implementation of conversion_methods.md,
section 2.

Also its ablations, Algorithm 1, and what it conserves. Scale, calibrated gain and spike confidence
have files too.
"""

from math import exp, log, log1p

import pytest
import torch
from helpers.methods import neuron
from helpers.msat import INPUTS, MSAT, SETTINGS, drive, scalar_msat, sigmoid
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.snn.neurons.msat import threshold_ratio


@pytest.mark.parametrize("setting", SETTINGS)
def test_thresholds_and_spikes(setting: str):
    for source in INPUTS:
        for top in [0.37, 1.0, 4.0]:
            recipe = MSAT.with_settings(SETTINGS[setting])
            zs = [z * top for z in INPUTS[source]]
            expected = list(scalar_msat(zs, top, recipe.msat, recipe.neuron.gamma))
            got = drive(neuron(recipe, top), zs)
            assert [n for _, n, _ in got] == [n for _, n, _ in expected]
            for i in (0, 2):
                exact = [step[i] for step in expected]
                assert [step[i] for step in got] == pytest.approx(exact, rel=1e-9, abs=1e-12)
            assert sum(n for _, n, _ in got) > 3, "too few spikes to show anything"
            assert (len({theta for theta, _, _ in got}) > 1) == (setting != "neither")


wide = st.floats(-1e4, 1e4, width=32)


@given(
    wide,
    wide,
    st.floats(0.125, 1000, width=32),
    st.sampled_from(sorted(SETTINGS)),
    st.sampled_from([0.5, 1.0, 3.0]),
)
def test_the_ratio_in_float32_far_from_the_middle(
    d: float, z: float, top: float, setting: str, tau: float
):
    """A gain in the hundreds: the exponentials of Eq. 17 overflow one by one, the
    ratio must not.
    """
    s = MSAT.with_settings({**SETTINGS[setting], "msat.tau_mp": tau}).msat
    x = d / s.k_i
    u = tau * (s.alpha * d - top + s.k_a * (max(x, 0) + log1p(exp(-abs(x))))) if s.dtt else 0.0
    u += s.tau_rd * (exp(min(-z / s.c, 700)) + s.mu) if s.det else 0.0
    expected = 1.0 if not (s.dtt or s.det) else max(1 / (1 + exp(min(-u, 700))), s.floor)
    got = threshold_ratio(*map(torch.tensor, ([d], [0.0], [z], [top])), s, torch.empty(1))
    assert got.item() == pytest.approx(expected, rel=2e-3, abs=1e-6)


def test_first_steps_by_hand():
    """Theta = 1, z = 1/2. t = 0: theta = 1, U = 1/2. t = 1: the mean is U, so u = -1 + ln 2 +
    exp(-1/10), and it fires.

    t = 2: the mean of 1/2 and U(1), and so on.
    """
    (first, n0, u0), (second, n1, u1), (third, _, _) = drive(neuron(MSAT), [0.5] * 3)
    assert (first, n0, u0) == (1.0, 0.0, 0.5)
    assert second == pytest.approx(sigmoid(-1 + log(2) + exp(-0.1)))
    assert second == pytest.approx(0.6452, abs=5e-5)
    assert n1 == 1 and u1 == pytest.approx(1 - second)
    moved = (u1 - 0.5) / 2
    assert third == pytest.approx(sigmoid(0.03 * moved - 1 + log(1 + exp(moved)) + exp(-0.1)))


def test_the_threshold_never_falls_below_its_floor():
    steep = {"msat.gain": 50, "msat.floor": 0.01, "msat.tau_rd": 0.0}
    falling = {"msat.variant": "algorithm1", "msat.g": 5.0, "msat.floor": 0.02}
    for rule, top, zs, least in ((steep, 50, [1.0] * 20, 0.01), (falling, 2, [0.9, 0.0] * 9, 0.02)):
        steps = drive(neuron(MSAT.with_settings(rule), top), zs)
        assert min(theta for theta, _, _ in steps) == least * top
