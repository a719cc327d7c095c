"""Burst spikes: up to gamma spikes per step carry the residual away at once."""

from fractions import Fraction

import pytest
import torch
from helpers.methods import method, neuron, record, send
from helpers.networks import Pooled, images
from helpers.scalar_neurons import currents, scalar_if, thetas
from hypothesis import given, settings

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.convert.statistics import Histogram
from spiking_yolo.convert.thresholds import threshold

BURST = get_recipe("burst")


def test_bursts_by_hand():
    """theta = 2: 25 leaves in bursts of 5, 5 and 2, and one remains; debts are paid first."""
    layer = neuron(BURST, 2)
    assert send(layer, [25, 0, 0, 0]) == [5, 5, 2, 0]
    assert (layer.potential.item(), layer.count.item()) == (1, 12)
    assert send(neuron(BURST, 2), [7.75, -9, 9, 4.25]) == [3, 0, 0, 3]
    assert send(neuron(BURST.with_settings({"neuron.gamma": 1}), 2), [25, 0, 0, 0]) == [1, 1, 1, 1]


@settings(deadline=None, max_examples=50)
@given(currents, thetas)
def test_counts_against_a_second_implementation(zs: list[Fraction], theta: Fraction):
    layer = neuron(BURST, theta)
    expected = list(scalar_if(zs, theta, 5, Fraction(0)))
    assert send(layer, zs) == [n for n, _ in expected]
    assert layer.count.item() == sum(n for n, _ in expected)
    assert layer.potential.item() == sum(zs) - theta * sum(n for n, _ in expected)


def test_the_default_shares_the_percentile_among_the_spikes():
    z = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(1))
    histogram = Histogram.empty(1)
    histogram.update(z)
    whole, third = (
        threshold(histogram, 0, BURST.with_settings(s))
        for s in ({"threshold.rule": "percentile"}, {"neuron.gamma": 3})
    )
    assert third.item() == pytest.approx(whole.item() / 3)


def test_a_network_counts_every_spike_of_a_burst():
    """Thresholds are a fifth of p-norm's; at half of that neurons burst, and counts are sums of the
    numbers sent.
    """
    _, converted = method(Pooled, "burst", {"threshold.scale": 0.5})
    _, plain = method(Pooled, "p-norm", {"threshold.scale": 0.1})
    assert all(
        torch.equal(s["theta"], plain.neurons[k]["theta"]) for k, s in converted.neurons.items()
    )
    sent = record(converted.simulator(observed=True), images(2), 16)
    spikes = converted.network().run(images(2), 16).snapshots[16].spikes
    for name, n in sent.items():
        assert n.max() == 5 and torch.equal(n, n.round())
        assert torch.equal(n.transpose(0, 1).flatten(1).sum(1), spikes[name])
