"""Scale-and-fire neurons: T steps of integrate and fire as one message."""

from typing import Any

import pytest
import torch
from helpers.methods import method, neuron, send
from helpers.networks import Pooled, TinyLeaky, images
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.graph import forward
from spiking_yolo.metrics.energy import charged

RECIPE = get_recipe("sfn")


@given(st.floats(-0.5, 2), st.floats(0.2, 5), st.integers(1, 64))
def test_it_sends_what_integrate_and_fire_sends_in_T_steps(x: float, theta: float, T: int):
    """A constant current within 0..theta, where the neuron never falls behind; v(0) = theta / 2."""
    if abs((x * T / theta + 0.5) % 1 - 0.5) > 0.5 - 1e-9:
        return  # on the edge between two values
    layer = neuron(RECIPE.with_settings({"neuron.gamma": T}), theta=theta / T)
    potential, fired = theta / 2, 0
    for _ in range(T):
        potential += x
        if potential >= theta:
            potential -= theta
            fired += 1
    assert send(layer, [x, 0]) == [fired, 0]
    counts = [count.item() for count in layer.counts]
    assert counts[0] == fired and counts[2] == (fired > 0)


@pytest.mark.parametrize("cls", [TinyLeaky, Pooled])
def test_a_network_is_the_floor_formula_in_one_step(cls: Any):
    _, converted = method(cls, "sfn")
    x = images(2, seed=7)

    def rounded(node: Any, before: torch.Tensor, after: torch.Tensor) -> None:
        step = converted.neurons[node.name]["theta"].reshape(-1, *[1] * (after.ndim - 2))
        after.copy_((after.abs() / step + 0.5).floor().clamp(0, 32) * step * after.sign())

    expected = forward(converted.graph, x, rounded)
    run = converted.network().run(x, 4, [1])
    for t in (1, 4):
        for a, b in zip(run.snapshots[t].outputs, expected, strict=True):
            assert torch.allclose(a, b)
    assert torch.equal(run.snapshots[1].operations.spikes, run.snapshots[4].operations.spikes)


def test_energy_charges_one_message_per_value():
    assert charged(RECIPE.neuron_kind.carries) == "messages"
