"""MSAT: thresholds and spikes against a scalar second implementation of conversion_methods.md,
section 2. Also its ablations, its scale, and its calibrated gain.
"""

import random
from collections.abc import Iterator, Mapping
from math import exp, floor, log, log1p
from typing import Any

import pytest
import torch
from helpers.methods import neuron
from helpers.networks import Pooled, TinyLeaky, images, make, spiking
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.convert.calibrate import GAINS
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.graph import forward
from spiking_yolo.rate.network import SpikingNetwork
from spiking_yolo.rate.neurons.layer import NeuronLayer
from spiking_yolo.rate.neurons.msat import MsatIntegrateAndFire, threshold_ratio
from spiking_yolo.recipe import Msat

FOUND = get_recipe("msat")
MSAT = get_recipe("msat").with_settings({"msat.gain": 1})
GENERATOR = random.Random(1)
INPUTS = {
    "constant": [0.3] * 40,
    "large": [0.95] * 40,
    "stepped": [0.1] * 12 + [0.9] * 12 + [-0.5] * 8 + [0.4] * 8,
    "random": [GENERATOR.uniform(-0.4, 1.2) for _ in range(40)],
}
RESNET20 = {"msat.alpha": 0.3, "msat.tau_mp": 0.5, "msat.tau_rd": 0.5}
SETTINGS: dict[str, dict[str, Any]] = {
    "vgg16": {},
    "resnet20": RESNET20,
    "dtt only": {"msat.tau_rd": 0},
    "det only": {"msat.tau_mp": 0},
    "neither": {"msat.tau_mp": 0, "msat.tau_rd": 0},
    "constants": {"msat.alpha": 1.5, "msat.tau_rd": 2.0},
    "bursts": {"neuron.gamma": 3},
    "gain": {"msat.gain": 3.0},
}


def scalar_msat(
    zs: list[float], top: float, s: Msat, gamma: int = 1
) -> Iterator[tuple[float, float, float]]:
    """theta(t), n(t) and the post-reset U(t); top: Theta."""
    unit = top / s.gain
    u, after, theta = 0.0, [], top
    for t, z in enumerate(zs):
        if t > 0 and (s.tau_mp or s.tau_rd):
            moved = (after[-1] - sum(after) / t) / unit
            drive = s.tau_mp * (s.alpha * moved - top / unit + log(1 + exp(moved)))
            drive += s.tau_rd * exp(-z / unit / 5)
            theta = top * max(1 / (1 + exp(-drive)), 1e-3)
        u += z
        n = max(0, min(floor(u / theta), gamma))
        u -= n * theta
        after.append(u)
        yield theta, n, u


def drive(layer: NeuronLayer, zs: list[float]) -> list[tuple[float, float, float]]:
    """theta(t), n(t), U(t) of one neuron; what it sends is n * theta(t)."""
    assert isinstance(layer, MsatIntegrateAndFire)
    steps = []
    for z in zs:
        before = layer.count.item() if steps else 0
        out = layer(torch.tensor([[z]], dtype=torch.float64)).item() * layer.theta.item()
        theta, n = layer.threshold.item(), layer.count.item() - before
        assert out == pytest.approx(n * theta, rel=1e-12)
        steps.append((theta, n, layer.potential.item()))
    return steps


VALUES = st.lists(st.integers(-64, 96).map(lambda n: n / 64), min_size=1, max_size=20)


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
def test_the_ratio_in_float32_far_from_the_middle(d, z, top, setting, tau):
    """A gain in the hundreds: the exponentials of Eq. 17 overflow one by one, the
    ratio must not.
    """
    s = MSAT.with_settings({**SETTINGS[setting], "msat.tau_mp": tau}).msat
    u = tau * (s.alpha * d - top + max(d, 0) + log1p(exp(-abs(d))))
    u += s.tau_rd * exp(min(-z / 5, 700))
    expected = max(1 / (1 + exp(min(-u, 700))), 1e-3)
    got = threshold_ratio(*map(torch.tensor, ([d], [z], [top])), s, torch.empty(1))
    assert got.item() == pytest.approx(expected, rel=2e-3, abs=1e-6)


def test_the_threshold_never_falls_below_its_floor():
    steep = MSAT.with_settings({"msat.gain": 50, "msat.tau_rd": 0})
    assert min(theta for theta, _, _ in drive(neuron(steep, 50), [1.0] * 20)) == 1e-3 * 50


@given(
    VALUES,
    st.floats(0.3, 4),
    st.sampled_from([0.5, 1.0, 3.0]),
    st.sampled_from(["vgg16", "resnet20"]),
)
def test_a_gain_is_the_authors_neuron_at_theta_k(zs, gain, top, setting):
    """Whatever Theta is; the gain is a setting, or a parameter of the layer."""
    recipe = MSAT.with_settings(SETTINGS[setting])
    own = neuron(recipe.with_settings({"msat.gain": gain}), gain)
    expected = [theta / gain for theta, _, _ in drive(own, [z * gain for z in zs])]
    known, found = (recipe.with_settings({"msat.gain": k}) for k in (gain, 0))
    runs = [drive(neuron(r, top, gain=gain), [z * top for z in zs]) for r in (known, found)]
    assert runs[0] == runs[1]
    assert [theta / top for theta, _, _ in runs[0]] == pytest.approx(expected, rel=1e-6)


def error(cls: Any, gains: Mapping[str, float], T: int) -> float:
    """Sum over the images of |SNN - ANN| / |ANN|, over all outputs of an image together."""
    converted = spiking(make(cls), images(2), FOUND, {"msat.gain": 1})
    every = converted.neurons.items()
    neurons = {name: {**own, "gain": torch.tensor(gains[name])} for name, own in every}
    network = SpikingNetwork(converted.graph, neurons, FOUND)
    total = 0.0
    for image in images(2).split(1):
        expected = torch.cat([o.flatten() for o in forward(converted.graph, image)])
        got = torch.cat([o.flatten() for o in network.run(image, T).snapshots[T].outputs])
        total += ((got - expected).norm() / expected.norm()).item()
    return total


@torch.no_grad()
@pytest.mark.parametrize("cls", [Pooled, TinyLeaky])
def test_k_is_the_best_of_all_and_then_layers_move(cls: Any):
    T = 4
    chosen = spiking(make(cls), images(2), FOUND, {"calibration.T": T})
    errors = {k: error(cls, dict.fromkeys(chosen.neurons, k), T) for k in GAINS}
    assert len({round(e, 6) for e in errors.values()}) > 3, "k does not matter here"
    k = min(k for k in GAINS if errors[k] <= 1.03 * min(errors.values()))
    gains, best = dict.fromkeys(chosen.neurons, k), errors[k]
    for node in chosen.graph.activations:
        for factor in (0.8, 1.25):
            trial = {**gains, node.name: k * factor}
            if error(cls, trial, T) < 0.995 * best:
                gains, best = trial, error(cls, trial, T)
                break
    found = {name: own["gain"].item() for name, own in chosen.neurons.items()}
    assert found == pytest.approx(gains)
