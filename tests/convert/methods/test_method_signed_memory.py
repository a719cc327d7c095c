"""Signed neuron with memory: what was sent follows phi of the summed input, whatever its order."""

from fractions import Fraction
from math import floor
from typing import Any

import pytest
import torch
from helpers.methods import method, neuron, quantised, send
from helpers.networks import Pooled, TinyLeaky, images
from helpers.scalar_neurons import currents, phi, scalar_memory, slopes, thetas
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking_yolo.convert.methods import get_recipe

MEMORY = get_recipe("signed-memory")
SLOPES = slopes | st.just(Fraction(0))


def test_wrongly_sent_spikes_are_taken_back_by_hand():
    """theta = 1, ReLU: 3 sent, then the sum falls to 1, to -4, and rises to 1/2, which
    rounds up.
    """
    layer = neuron(MEMORY)
    assert send(layer, [3, -2, -5, 4.5]) == [3, -2, -1, 1]
    assert layer.count.item() == 7
    assert send(neuron(MEMORY, slope=0.5), [3, -2, -5, 4.5]) == [3, -2, -3, 3]  # phi: 3, 1, -2, 1/2


def test_at_most_gamma_spikes_per_step():
    assert send(neuron(MEMORY), [9, 0, 0, -9, 0, 0]) == [4, 4, 1, -4, -4, -1]


@settings(deadline=None, max_examples=50)
@given(currents, thetas, SLOPES)
def test_against_a_second_implementation(zs: list[Fraction], theta: Fraction, slope: Fraction):
    assert send(neuron(MEMORY, theta, slope), zs) == [
        n for n, _ in scalar_memory(zs, theta, 4, Fraction(1, 2), slope)
    ]


@settings(deadline=None, max_examples=50)
@given(st.data(), thetas, SLOPES)
def test_the_order_of_arrival_does_not_matter(data: Any, theta: Fraction, slope: Fraction):
    """Once the input has ended and the neuron has caught up, it has sent round(phi(S) / theta)."""
    zs = data.draw(currents.filter(lambda zs: len(zs) < 10))
    shuffled = data.draw(st.permutations(zs))
    silence = [0] * (floor(sum(map(abs, zs)) / theta / 4) + 1)
    expected = floor(phi(sum(zs, Fraction(0)), slope) / theta + Fraction(1, 2))
    for order in (zs, shuffled):
        assert sum(send(neuron(MEMORY, theta, slope), [*order, *silence])) == expected


@torch.no_grad()
def test_theta_covers_the_negative_side_too():
    """A quarter of the larger of both sides' percentiles; the negative one is sent scaled by the
    slope.
    """
    _, steep = method(TinyLeaky, "signed-memory", {"threshold.rule": "max"})
    model, _ = method(TinyLeaky, "signed-memory")
    z = model.bn1(model.conv1(images(2))).transpose(0, 1).flatten(1)  # type: ignore[operator]
    expected = torch.maximum(z.amax(1), -0.1 * z.amin(1)).clamp(min=0) / 4
    torch.testing.assert_close(steep.neurons["act1"]["theta"], expected.float())


@torch.no_grad()
@pytest.mark.parametrize("cls", [Pooled, TinyLeaky])
def test_the_sums_of_a_network_settle_on_a_finer_and_finer_grid(cls: Any):
    """In rate coding the mean over t steps lies on the grid theta / t, up to the slew of the layers
    before.
    """
    model, converted = method(cls, "signed-memory")
    run = converted.network().run(images(2), 256, [16, 256])
    for t, bound in ((16, 0.05), (256, 0.004)):
        expected = quantised(model, converted, 1 / t)(images(2))
        expected = expected if isinstance(expected, tuple) else (expected,)
        for a, b in zip(run.snapshots[t].outputs, expected, strict=True):
            assert (a - b).norm() / b.norm() < bound
