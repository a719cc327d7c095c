"""How many thetas a neuron sends is computed in two places, which must agree: the neuron itself, and
the grid of the analysis (apps/analyze/chain.py).
"""

import pytest
import torch
from helpers.methods import neuron
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.apps.analyze.chain import Reach, feed
from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe

# Dyadic numbers, with which floating point makes no error.
numbers = st.integers(-2000, 2000).map(lambda n: n / 64)
thetas = st.sampled_from([0.25, 0.5, 1.0, 4.0])
slopes = st.sampled_from([0.0, 0.125, 1.0])
initials = st.sampled_from([0.0, 0.25, 0.5])


SIGNED = Recipe("test").with_settings({"neuron.kind": "sigma-delta", "neuron.gamma": 65536})


@given(numbers, thetas, slopes, initials)
def test_the_grid_of_the_analysis(z: float, theta: float, slope: float, initial: float):
    layer = neuron(SIGNED, theta, slope, initial=initial)
    current = torch.tensor([[z]]).double()
    reach = Reach(current, Activation(slope))
    value = feed(layer, current, 1, lambda t: 1.0, reach.watch)
    assert value.item() == reach.rounded.item()


@given(numbers, thetas, initials, st.integers(1, 6), st.integers(1, 4))
def test_the_grid_in_rate_coding(z: float, theta: float, initial: float, T: int, gamma: int):
    """For constant input; only where no step is clipped, after which a neuron may catch up."""
    settings = {"neuron.kind": "if", "neuron.gamma": gamma}
    layer = neuron(Recipe("test").with_settings(settings), theta, 0.0, initial=initial)
    current = torch.tensor([[z]]).double()
    value = feed(layer, current, T, lambda t: 1.0) / T
    grid = layer.rate_grid(current, [torch.tensor([[theta]]).double()], T)
    if abs(z) / theta + 1 <= gamma:
        assert value.item() == pytest.approx(grid.item(), abs=1e-12)
