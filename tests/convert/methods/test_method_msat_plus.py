"""MSAT-plus, and the signed memory neuron under MSAT: against a scalar second implementation, and
that it settles.
"""

import random
from collections.abc import Iterator
from math import exp, floor, log, log2
from typing import Any

import pytest
import torch
from helpers.methods import Chain, method, neuron, quantised, record, relative_error, send
from helpers.networks import TinyLeaky, images
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.neurons import MsatSignedMemory

PLUS = get_recipe("msat-plus")
# The same spike_weight in every step.
ONE_STEP: dict[str, Any] = {"encoding.coarse": 0, "encoding.refine": 0}
GENERATOR = random.Random(2)
INPUTS = {
    "once": [2.3] + [0.0] * 15,
    "negative": [-7.0] + [0.0] * 15,
    "back and forth": [3.0, -2.5, 0.0, 4.0, -6.0, 0.1, -0.1, 0.0, 0.0, 0.9],
    "random": [GENERATOR.uniform(-1.5, 2.0) for _ in range(40)],
}
SETTINGS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "any value": {"msat.stages": 0},
    "deep": {"msat.stages": 6, "msat.tau_mp": 9.0},
    "det": {"msat.det": True, "msat.c": 0.7, "msat.tau_rd": 1.5},
    "mu": {"msat.det": True, "msat.mu": True},
    "neither": {"msat.dtt": False},
    "constants": {"msat.alpha": 0.8, "msat.k_a": 0.5, "msat.k_i": 0.3, "msat.tau_mp": 2.0},
    "few spikes": {"neuron.gamma": 1},
}


def scalar(
    zs: list[float], recipe: Recipe, theta: float, slope: float
) -> Iterator[tuple[float, float, float]]:
    """Ratio, spikes n, and what was not sent after them, of one neuron; everything in
    thresholds.
    """
    s, gamma = recipe.msat, recipe.neuron.gamma
    total, sent, after = 0.0, 0.0, []
    for z in zs:
        total += z
        wanted = (total if total > 0 else slope * total) / theta
        ratio = 1.0
        if after and (s.dtt or s.det):
            mean = sum(after) / len(after)
            moved = abs(wanted - sent) - mean
            u = (
                s.tau_mp * (s.alpha * moved - 1 + s.k_a * log(1 + exp(moved / s.k_i)))
                if s.dtt
                else 0.0
            )
            u += (
                s.tau_rd * (exp(-abs(z) / theta / s.c) + (exp(-mean) if s.mu else 0.0))
                if s.det
                else 0.0
            )
            ratio = 1 / (1 + exp(-u))
            if s.stages:
                ratio = 2.0 ** -min(floor(-log2(ratio) + 0.5), s.stages)
        n = max(-gamma, min(gamma, floor((wanted - sent) / ratio + 0.5)))
        sent += n * ratio
        after.append(abs(wanted - sent))
        yield ratio, n, wanted - sent


@pytest.mark.parametrize("theta", [1.0, 3.5])
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("drive", INPUTS)
def test_the_neuron_against_a_scalar_one(drive: str, name: str, theta: float):
    recipe = PLUS.with_settings({**ONE_STEP, **SETTINGS[name]})
    zs = [z * theta for z in INPUTS[drive]]
    layer = neuron(recipe, theta, 0.1)
    assert isinstance(layer, MsatSignedMemory)
    spikes = 0.0
    for z, (ratio, n, left) in zip(zs, scalar(zs, recipe, theta, 0.1), strict=True):
        (got,) = send(layer, [z])
        spikes += abs(n)
        assert layer.threshold.item() == pytest.approx(ratio * theta, rel=1e-9)
        assert got == pytest.approx(n * ratio, rel=1e-9, abs=1e-12)
        assert layer.count.item() == spikes
        assert layer.residual().item() == pytest.approx(left * theta, abs=1e-9)


def test_coarse_while_the_input_moves_and_fine_once_it_has_settled():
    """Theta = 1: the first spikes are worth 1, later changes of 2, 0.7 and 0.1 are met with 1, 1/2
    and 1/4.
    """
    layer = neuron(PLUS.with_settings(ONE_STEP))
    values = []
    for z in [4.1, 0, 0, 2.0, 0, 0, 0.7, 0, 0, 0.1, 0, 0]:
        send(layer, [z])
        values.append(layer.threshold.item())
    assert [values[i] for i in (0, 3, 6, 9)] == [1, 1, 0.5, 0.25]
    assert values[1] == values[2] == values[5] == values[8] == values[11] == 0.25


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-20, 20, width=16), min_size=1, max_size=12), st.sampled_from([0.0, 0.1]))
def test_a_neuron_falls_silent_and_is_right_to_within_half_its_finest_spike(
    zs: list[float], slope: float
):
    layer = neuron(PLUS.with_settings(ONE_STEP), slope=slope)
    sent = sum(send(layer, zs))
    sent += sum(send(layer, [0.0] * 40))
    assert layer.quiet()
    wanted = sum(zs) if sum(zs) > 0 else slope * sum(zs)
    assert abs(wanted - sent) <= 0.125 + 1e-9
    assert send(layer, [0.0] * 20) == [0.0] * 20


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-4, 4, width=16), min_size=1, max_size=10), st.sampled_from([0, 2, 5]))
def test_quiet_means_silent_for_good(zs: list[float], stages: int):
    """Whenever a layer says so, nothing follows without input, and its thresholds go on as if it
    had been stepped.
    """
    recipe = PLUS.with_settings({**ONE_STEP, "msat.stages": stages})
    layer, resting = neuron(recipe), neuron(recipe)
    for z in [*zs, *[0.0] * 8]:
        send(layer, [z])
        send(resting, [z])
        if layer.quiet():
            break
    if not layer.quiet():
        return
    assert send(layer, [0.0] * 30) == [0.0] * 30
    for _ in range(30):
        resting.idle()
    assert send(layer, [1.3]) == pytest.approx(send(resting, [1.3]), rel=1e-9)


@pytest.mark.parametrize("cls", [TinyLeaky, Chain])
def test_network_settles_on_the_network_quantised_with_a_quarter_of_theta(cls: type):
    """A quarter of what theta has become in every layer alike, when it has been refined for the
    last time.
    """
    model, converted = method(cls, "msat-plus", {"encoding.refine": 8, "encoding.refine_by": 0.5})
    x = images(2)
    result = converted.network().run(x, 200, [30, 60])
    expected = quantised(model, converted, 0.25 * 0.5**PLUS.encoding.refinements)(x)
    assert relative_error(result.snapshots[200].outputs, expected) < 1e-9
    assert 32 < result.steps < 60
    assert torch.equal(
        result.snapshots[60].operations.spikes, result.snapshots[200].operations.spikes
    )
    assert relative_error(result.snapshots[30].outputs, expected) > 1e-4


def test_spikes_are_worth_powers_of_two():
    _, converted = method(TinyLeaky, "msat-plus", ONE_STEP)
    worth: dict[str, set[float]] = {}

    def probe(name: str, t: int, layer: Any, current: Any) -> None:
        worth.setdefault(name, set()).update(
            (layer.threshold / layer.theta[:, None, None]).unique().tolist()
        )

    converted.network(observed=True).run(images(2), 24, probes=[probe])
    assert all(values <= {1.0, 0.5, 0.25} for values in worth.values())
    assert {1.0, 0.25} <= set.union(*worth.values())


def test_an_image_does_not_depend_on_its_batch():
    """A layer rests only when no image of the batch needs it; its thresholds must not notice."""
    _, converted = method(TinyLeaky, "msat-plus", {"msat.stages": 0})
    x = images(3)
    x[1] *= 0.01
    together = record(converted.network(observed=True), x, 30)
    for i in range(3):
        alone = record(converted.network(observed=True), x[i : i + 1], 30)
        for name, sent in alone.items():
            torch.testing.assert_close(sent[:, 0], together[name][:, i], rtol=1e-9, atol=1e-12)


def test_the_threshold_matters():
    """Against the recipe without it, the error; against the fixed threshold that it ends at, the
    operations.
    """
    x = images(2)

    def run(settings: dict[str, Any]) -> tuple[float, float]:
        model, converted = method(TinyLeaky, "msat-plus", settings)
        last = converted.network().run(x, 16).snapshots[16]
        return relative_error(last.outputs, model(x)), last.operations.spikes.mean().item()

    error, operations = run({})
    without, _ = run({"msat.enabled": False})
    fine = {
        "threshold.scale": PLUS.threshold.scale / 4,
        "encoding.coarse": PLUS.encoding.coarse + 2,
    }
    fixed, dear = run({"msat.enabled": False, **fine})
    assert error < 0.6 * without
    assert error < 1.2 * fixed and operations < 0.97 * dear


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"^msat\.variant=algorithm1 needs encoding\.coding=rate"):
        PLUS.with_settings({"msat.variant": "algorithm1"})
    rate = {"encoding.coding": "rate", "encoding.coarse": 0, "encoding.refine": 0}
    assert PLUS.with_settings({**rate, "msat.variant": "algorithm1"}).msat.variant == "algorithm1"
