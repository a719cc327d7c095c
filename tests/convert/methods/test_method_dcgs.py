"""DCGS: its spikes worked out by hand, and the authors' rule with all of its variables
beside ours.
"""

import pytest
from helpers.methods import neuron, send
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.convert.methods import get_recipe

RECIPE = get_recipe("dcgs")


def test_spikes_by_hand():
    for zs, sent in [
        # due 1.3: theta; 2 * 0.3: theta / 2; 3 * 0.05: theta / 8; 4 * 0.008333: theta / 32; then
        # too little for / 128
        ([1.3, 0, 0, 0, 0], [1, 0.5 / 2, 0.125 / 3, 0.03125 / 4, 0]),
        ([0.74], [0.5]),
        # Fires at three quarters of a threshold.
        ([0.76], [1]),
        ([0.5, -0.1, 0], [0.5, -0.25 / 2, 0.0625 / 3]),
        # Takes back what was sent, and no more.
        ([0.5, -3, 0], [0.5, -1 / 2, 0]),
        ([-2, 0], [0, 0]),
    ]:
        layer = neuron(RECIPE)
        assert send(layer, zs) == pytest.approx(sent)
        assert layer.count.item() == sum(value != 0 for value in sent)


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=8), st.floats(0.3, 3))
def test_the_authors_variables_give_the_same_spikes(zs, theta):
    """mem, exp_in and exp_out as released, for ReLU; x(t) is t times what arrives, bias aside."""
    expected, mem, exp_in, exp_out, net = [], 0.0, 0.0, 0.0, 0.0
    for t, z in enumerate(zs, 1):
        x = t * z
        mem += x + exp_in - exp_out
        # What the rate says without a spike.
        net += exp_out
        spike = 0.0
        for k in range(8):
            size = theta / 2**k
            if mem >= 0.75 * size:
                spike = size
            elif -mem >= 0.75 * size and net >= size:
                spike = -size
            if spike:
                break
            if min(abs(abs(mem) - 0.75 * size), abs(net - size)) < 1e-9:
                return  # either answer is right
        mem, net = mem - spike, net + spike
        exp_in, exp_out = exp_in + x / t, exp_out + spike / t
        expected.append(spike / t / theta)
    assert send(neuron(RECIPE, theta=theta), zs) == pytest.approx(expected, abs=1e-9)
