"""Weights of a few bits: the grid by brute force, and that the integers which a chip stores are
small.
"""

from dataclasses import replace

import torch
from helpers.networks import Grouped, TinyLeaky, images, make, spiking
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.convert.weight_bits import on_grid, rounded_weights


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6), st.integers(2, 5))
def test_nearest_of_all_symmetric_levels(values, bits):
    weight = torch.tensor([values, [7.0] * len(values)], dtype=torch.float64)
    found, other = on_grid(weight, bits)
    most = 2 ** (bits - 1) - 1
    grid = [k * max(map(abs, values)) / most for k in range(-most, most + 1)]
    for value, q in zip(values, found.tolist(), strict=True):
        assert abs(q - value) <= min(abs(g - value) for g in grid) + 1e-12
        assert min(abs(g - q) for g in grid) < 1e-12
    # Every output channel has its own step.
    assert other.tolist() == [7.0] * len(values)


def test_what_a_chip_stores_are_small_integers():
    """The weights that receive spikes, which hold theta, are integers of -7..7 times a step of the
    output channel.
    """
    for cls in [TinyLeaky, Grouped]:
        plain = spiking(make(cls), images(2), get_recipe("channel-norm"))
        thetas = {name: own["theta"] for name, own in plain.neurons.items() if "theta" in own}
        tensors = rounded_weights(plain.graph, plain.graph.tensors, 4, thetas)
        small = replace(plain, graph=replace(plain.graph, tensors=tensors))
        for name, linear in small.network().synapses.maps.items():
            folded = linear.weight.flatten(1)
            step = folded.abs().amax(1, keepdim=True) / 7
            assert torch.allclose(folded / step, (folded / step).round(), atol=1e-9), name
            assert ((folded / step).round().abs().amax(1) == 7).all()
        for name, tensor in plain.graph.tensors.items():
            assert torch.equal(tensors[name], tensor) == name.endswith("bias")
