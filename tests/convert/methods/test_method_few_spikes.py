"""Few-spikes: values as binary digits, against the loop over sub-steps of the paper."""

import pytest
import torch
from helpers.methods import method, neuron, record, send
from helpers.networks import Pooled, TinyLeaky, images
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.graph import forward
from spiking_yolo.graph.trace import trace
from spiking_yolo.snn.counting import count_binary_digits
from spiking_yolo.snn.network import SpikingNetwork

RECIPE = get_recipe("few-spikes")
DOWN = RECIPE.with_settings({"neuron.initial": 0.0})  # as published
THREE = DOWN.with_settings({"neuron.gamma": 7})  # K = 3


def test_digits_by_hand():
    for z, sent, events in [(5.9, 5, 2), (100, 7, 3), (4, 4, 1), (0.99, 0, 0), (-4, 0, 0)]:
        layer = neuron(THREE)
        assert send(layer, [z, 0]) == [sent, 0]
        assert layer.counts.digits.item() == events and layer.settled


def test_half_a_spike_at_the_start_rounds_to_the_nearest():
    zs = [4.4, 4.6, -4.6, 0.4, 0.6, 300]
    assert [send(neuron(RECIPE, slope=1), [z])[0] for z in zs] == [4, 5, -5, 0, 1, 255]


@given(st.floats(-1, 12), st.integers(1, 8), st.floats(0.2, 5))
def test_the_sub_steps_of_the_paper(x, K, alpha):
    """v(1) = x; in sub-step k the neuron fires if v >= alpha 2^-k, and v falls by as much."""
    v, sent, fired = x, 0.0, 0
    for k in range(1, K + 1):
        if v >= alpha * 2.0**-k:
            v, sent, fired = v - alpha * 2.0**-k, sent + alpha * 2.0**-k, fired + 1
    theta = alpha / 2**K
    if min(x / theta % 1, -x / theta % 1) < 1e-9:
        return  # on the edge between two values
    layer = neuron(DOWN.with_settings({"neuron.gamma": 2**K - 1}), theta=theta)
    assert send(layer, [x])[0] * theta == pytest.approx(sent)
    assert layer.counts.digits.item() == fired and layer.count.item() * theta == pytest.approx(sent)


def test_binary_digits_are_those_of_python():
    n = torch.arange(300.0)
    assert count_binary_digits(n).tolist() == [bin(k).count("1") for k in range(300)]


@pytest.mark.parametrize(("name", "most"), [("few-spikes", 255), ("sfn", 32)])
@pytest.mark.parametrize("cls", [TinyLeaky, Pooled])
def test_the_network_rounded_in_one_step_and_then_silence(cls, name, most):
    """So are scale-and-fire neurons, of fewer levels."""
    _, converted = method(cls, name)
    x = images(2, seed=7)

    def rounded(node, before, after):
        step = converted.neurons[node.name]["theta"].reshape(-1, *[1] * (after.ndim - 2))
        after.copy_((after.abs() / step + 0.5).floor().clamp(max=most) * step * after.sign())

    expected = forward(converted.graph, x, rounded)
    run = converted.network().run(x, 4, [1, 2])
    for output, later, wanted in zip(
        run.snapshots[1].outputs, run.snapshots[4].outputs, expected, strict=True
    ):
        assert torch.allclose(output, wanted) and torch.equal(output, later)
    assert torch.equal(run.snapshots[1].operations.spikes, run.snapshots[4].operations.spikes)
    sent = record(converted.simulator(observed=True), x, 2)
    assert all(steps[0].any() and not steps[1].any() for steps in sent.values())


def test_max_pooling_counts_what_it_sends_in_base_two():
    """7 is three ones in base two, two signed digits."""
    graph = trace(
        nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(1, 1, 1)), torch.zeros(1, 1, 2, 2)
    )
    neuron, pool = (node.name for node in graph.nodes if node.op in ("activation", "max_pool"))
    recipe = DOWN.with_settings({"neuron.pool_first": False})
    network = SpikingNetwork(
        graph, {neuron: {"theta": torch.ones(1), "initial": torch.zeros(())}}, recipe
    )
    network.run(torch.tensor([7.0, 3, 0, 1]).view(1, 1, 2, 2), T=1)
    assert [float(count) for count in network.counts()[pool]] == [7, 3, 1]
