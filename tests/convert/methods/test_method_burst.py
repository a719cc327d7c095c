"""Burst spikes: up to gamma spikes per step carry the residual away at once."""

import pytest
import torch
from helpers.methods import neuron, send

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


def test_the_default_shares_the_percentile_among_the_spikes():
    z = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(1))
    histogram = Histogram.empty(1)
    histogram.update(z)
    of_whole = BURST.with_settings({"threshold.rule": "percentile"})
    whole = threshold(histogram, 0, of_whole)
    third = threshold(histogram, 0, BURST.with_settings({"neuron.gamma": 3}))
    assert third.item() == pytest.approx(whole.item() / 3)
