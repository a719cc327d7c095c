"""Differential coding: it settles on the network quantised with the same step, and then sends
nothing.
"""

from fractions import Fraction
from math import floor
from typing import Any

import pytest
import torch
from helpers.methods import method, neuron, quantised, record, relative_error, send
from helpers.networks import Pooled, TinyLeaky, images, spiking
from helpers.scalar_neurons import currents, phi, slopes, thetas
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.snn.neurons import NeuronLayer

DIFFERENTIAL = get_recipe("differential")


def test_changes_by_hand():
    """delta = 1, gamma = 4, ReLU: 6.5 is 7 after rounding, sent as 4 and 3; then silence; then -7
    as the input ends.
    """
    # Of 6.5, 6.5, 6.5, 1.5, -1.5.
    assert send(neuron(DIFFERENTIAL), [6.5, 0, 0, -5, -3, 0]) == [4, 3, 0, -4, -3, 0]
    # -1.5 rounds to -1.
    assert send(neuron(DIFFERENTIAL, slope=0.5), [6.5, 0, 0, -9.5, 0]) == [4, 3, 0, -4, -4]


@settings(deadline=None, max_examples=50)
@given(currents, thetas, slopes | st.just(Fraction(0)))
def test_a_neuron_falls_silent_at_its_rounded_activation(
    zs: list[Fraction], delta: Fraction, slope: Fraction
):
    wait = floor(sum(map(abs, zs)) / delta / 4) + 1
    sent = send(neuron(DIFFERENTIAL, delta, slope), [*zs, *[0] * (wait + 5)])
    assert sum(sent) == floor(phi(sum(zs, Fraction(0)), slope) / delta + Fraction(1, 2))
    assert sent[-5:] == [0] * 5


@torch.no_grad()
@pytest.mark.parametrize("cls", [Pooled, TinyLeaky])
def test_it_settles_on_the_quantised_network_and_then_sends_nothing(cls: Any):
    model, converted = method(cls, "differential")
    x, T = images(2, seed=3), 500
    probed: list[tuple[int, bool, bool]] = []

    def probe(name: str, t: int, layer: NeuronLayer, current: Tensor | None) -> None:
        probed.append((t, current is None, bool(layer.out.any())))

    network = converted.network(observed=True)
    run = network.run(x, T, [1, 2, 40, 80], probes=[probe])
    assert 2 < run.steps < 40
    expected = quantised(model, converted)(x)
    assert relative_error(run.snapshots[T].outputs, expected) < 1e-12
    assert 1e-3 < relative_error(run.snapshots[T].outputs, model(x)) < 0.2, (
        "too fine a step to tell them apart"
    )
    assert max(t for t, _, fired in probed if fired) == run.steps - 1
    a, b = run.snapshots[40], run.snapshots[T]
    assert torch.equal(a.operations.spikes, b.operations.spikes) and all(
        torch.equal(a.spikes[k], b.spikes[k]) for k in a.spikes
    )
    assert (run.snapshots[2].operations.spikes < a.operations.spikes).all()


@torch.no_grad()
def test_image_and_bias_enter_once():
    """The first layer's sum is its pre-activation after any number of steps; the output is not
    divided by t.
    """
    model, converted = method(
        Pooled, "differential", {"threshold.scale": 1e-3, "neuron.gamma": 1000}
    )
    x, run = images(2), converted.network().run(images(2), 60, [20])
    assert relative_error(run.snapshots[20].outputs, model(x)) < 1e-2
    assert all(
        torch.equal(a, b)
        for a, b in zip(run.snapshots[20].outputs, run.snapshots[60].outputs, strict=True)
    )


@torch.no_grad()
@pytest.mark.parametrize("cls", [Pooled, TinyLeaky])
def test_delta_is_the_mmse_threshold_over_its_levels(cls: Any):
    _, converted = method(cls, "differential")
    whole = spiking(converted.graph, images(2), DIFFERENTIAL, {"threshold.scale": 1.0})
    for name, site in converted.neurons.items():
        torch.testing.assert_close(site["theta"], whole.neurons[name]["theta"] / 16)
        assert site["initial"] == 0.5


def test_the_sum_sent_is_the_quantised_activation_of_every_layer():
    """Of the first site: known from the image alone; and no spike is larger than gamma."""
    model, converted = method(Pooled, "differential", {"neuron.pool_first": False})
    sent = record(converted.network(observed=True), images(2), 40)["body_1"]
    assert sent.abs().max() == 4 and (sent.abs() == 4).sum() > 10
    with torch.no_grad():
        grid = quantised(model, converted).body[:2](images(2))  # type: ignore[index, operator]
    torch.testing.assert_close(
        sent.sum(0) * converted.neurons["body_1"]["theta"][:, None, None], grid
    )
