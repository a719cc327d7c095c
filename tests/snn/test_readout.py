"""The readout: the mean of the head's current over all steps, or over those after a warm-up."""

from typing import Any

import pytest
import torch
from helpers.methods import points
from helpers.networks import ALL, images, make, spiking
from torch import nn

from spiking_yolo.graph.rewrites import readout_nodes
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.network import SpikingNetwork


def outputs(skip: int, T: int, steps: list[int]) -> dict[int, float]:
    """z = 3/8, theta = 1: spikes at t = 3, 6 and 8. The head is 8 s + 1."""
    graph = points([([[1.0]], [0.0]), ([[8.0]], [1.0])])
    neurons = {"act1": {"theta": torch.ones(1), "initial": torch.tensor(0.0)}}
    x = torch.full((1, 1, 1, 1), 3 / 8, dtype=torch.float64)
    recipe = Recipe("tested").with_settings({"readout.skip": skip})
    run = SpikingNetwork(graph, neurons, recipe).run(x, T, steps)
    return {t: snapshot.outputs[0].item() for t, snapshot in run.snapshots.items()}


def network_of(cls: type[nn.Module], settings: dict[str, Any]) -> SpikingNetwork:
    return spiking(make(cls), images(2), Recipe("tested"), settings).network()


def test_mean_over_all_steps_by_hand():
    expected = {1: 1, 3: 1 + 8 / 3, 4: 3, 6: 1 + 16 / 6, 8: 4}
    assert outputs(0, 8, [1, 3, 4, 6]) == pytest.approx(expected)


def test_mean_after_a_warm_up_by_hand():
    """skip = 3 leaves the first spike out: of steps 4 to 8 two fire. Before there is anything to
    read it is zero.
    """
    expected = {2: 0, 3: 0, 4: 1, 6: 1 + 8 / 3, 8: 1 + 16 / 5}
    assert outputs(3, 8, [2, 3, 4, 6]) == pytest.approx(expected)


ENDS = {
    "TinyLeaky": "up cat head1 head2",
    "Residual": "mean.mean mean fc",
    "Pooled": "body_10",
    "Split": "getitem_1 add getitem_2 getitem_3 getitem_4 cat getitem_5 conv3",
    "Grouped": "body_6",
}


@pytest.mark.parametrize("cls", ALL)
def test_the_linear_end_is_what_no_neuron_and_no_pooling_reads(cls):
    """What is read does not depend on how often."""
    x = images(2)
    network = network_of(cls, {})
    end = ENDS[cls.__name__].split()
    assert [node.name for node in readout_nodes(network.graph)] == end
    often, seldom = network.run(x, 12, range(1, 13)), network.run(x, 12, [5])
    for t in (5, 12):
        assert all(map(torch.equal, seldom.snapshots[t].outputs, often.snapshots[t].outputs))
