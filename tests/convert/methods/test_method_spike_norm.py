"""Spike-Norm: Poisson input, reset to zero, thresholds balanced while the layers before spike."""

import torch
from helpers.methods import neuron, points, record, send
from helpers.networks import spiking

from spiking_yolo.convert.methods import get_recipe

SPIKE_NORM = get_recipe("spike-norm")


def test_reset_to_zero_loses_charge_by_hand():
    """z = 3/4, theta = 1: U = 3/4, 6/4 -> 0, so half of the steps fire where 3/4 should."""
    layer = neuron(SPIKE_NORM)
    assert send(layer, [0.75] * 8) == [0, 1, 0, 1, 0, 1, 0, 1]
    assert layer.potential.item() == 0
    assert send(neuron(SPIKE_NORM), [7, 0, 0, 0.5]) == [1, 0, 0, 0]


def test_balanced_thresholds_by_hand():
    """An image of ones is a spike in every step, whatever the seed: the currents, and so the
    thresholds, are known.

    Layer 1: currents 1/2 and 3/4, theta = 3/4: the first neuron fires at t = 2, 4, ..., the second
    in every step. Layer 2, weights (3, 2), bias 1/4: its largest current is (3 + 2) * 3/4 + 1/4 =
    4; the ANN's activation is 3 1/4.
    """
    graph = points([([[0.5], [0.75]], [0.0, 0.0]), ([[3.0, 2.0]], [0.25]), ([[1.0]], [0.0])])
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    converted = spiking(graph, x, SPIKE_NORM)
    assert converted.neurons["act1"]["theta"].tolist() == [0.75, 0.75]
    assert converted.neurons["act2"]["theta"].tolist() == [4.0]
    sent = record(converted.simulator(observed=True), x, 6)
    assert sent["act1"][:, 0, :, 0, 0].tolist() == [[0, 1], [1, 1]] * 3
    # Currents 7/4, 4 in turn: U = 7/4, 23/4 -> 0, and so on.
    assert sent["act2"].flatten().tolist() == [0, 1, 0, 1, 0, 1]


def test_biases_are_part_of_the_balanced_current():
    """The paper has none. A layer driven by its bias alone is balanced to it, and fires in every
    step.
    """
    graph = points([([[0.0]], [2.0]), ([[1.0]], [0.0])])
    x = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    converted = spiking(graph, x, SPIKE_NORM)
    assert converted.neurons["act1"]["theta"].tolist() == [2.0]
    assert converted.network().run(x, 8).snapshots[8].outputs[0].item() == 2.0
