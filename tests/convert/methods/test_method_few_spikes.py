"""Few-spikes: values as binary digits, against the loop over sub-steps of the paper."""

import pytest
import torch
from helpers.methods import fired
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.snn.counting import count_binary_digits

RECIPE = get_recipe("few-spikes")
DOWN = RECIPE.with_settings({"neuron.initial": 0.0})  # as published


@given(st.floats(-1, 12, width=32), st.integers(1, 8), st.floats(0.25, 5, width=32))
def test_the_sub_steps_of_the_paper(x: float, K: int, alpha: float):
    """v(1) = x; in sub-step k the neuron fires if v >= alpha 2^-k, and v falls by as much."""
    v, sent, spikes = x, 0.0, 0
    for k in range(1, K + 1):
        if v >= alpha * 2.0**-k:
            v, sent, spikes = v - alpha * 2.0**-k, sent + alpha * 2.0**-k, spikes + 1
    theta = alpha / 2**K
    if min(x / theta % 1, -x / theta % 1) < 1e-3:
        return  # on the edge between two values
    n = fired(DOWN.with_settings({"neuron.gamma": 2**K - 1}), x, theta=theta)
    assert n * theta == pytest.approx(sent)
    assert count_binary_digits(torch.tensor([n])).item() == spikes


def test_binary_digits_are_those_of_python():
    n = torch.arange(300.0)
    assert count_binary_digits(n).tolist() == [bin(k).count("1") for k in range(300)]
