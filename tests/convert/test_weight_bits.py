"""Weights of a few bits: the grid by brute force, and that the integers which a chip stores are
small.
"""

import pytest
import torch
from helpers.methods import relative_error
from helpers.networks import Grouped, TinyLeaky, images, make, spiking, statistics
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.convert.converted import convert
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.convert.weight_bits import on_grid
from spiking_yolo.errors import UserError
from spiking_yolo.graph import forward


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
        for method in ["dcgs", "channel-norm"]:
            plain = spiking(make(cls), images(2), get_recipe(method))
            small = _converted(plain, 4)
            network = small.network()
            network.run(images(2), 1)
            for name, linear in network.synapses.maps.items():
                folded = linear.folded.flatten(1)
                step = folded.abs().amax(1, keepdim=True) / 7
                assert torch.allclose(folded / step, (folded / step).round(), atol=1e-9), name
                assert ((folded / step).round().abs().amax(1) == 7).all()
            assert small.provenance["weight_bits"] == "4"
            assert all(
                torch.equal(small.neurons[k]["theta"], v["theta"]) for k, v in plain.neurons.items()
            )
            biases = [name for name in plain.graph.tensors if name.endswith("bias")]
            assert all(
                torch.equal(small.graph.tensors[name], plain.graph.tensors[name]) for name in biases
            )


def test_the_ann_has_them_too_and_more_bits_come_closer():
    model, x = make(TinyLeaky), images(2, seed=7)
    plain = spiking(model, images(2), get_recipe("dcgs"))
    errors = []
    for bits in (2, 4, 8, 16):
        small = _converted(plain, bits)
        errors.append(relative_error(forward(small.graph, x), model(x)))
        run = small.network().run(x, 64)
        assert relative_error(run.snapshots[64].outputs, forward(small.graph, x)) < 0.05
    assert errors == sorted(errors, reverse=True) and errors[0] > 0.2
    assert errors[2] < 0.02 and errors[3] < 1e-4


def test_others_are_refused():
    for bits in [1, 17]:
        with pytest.raises(UserError, match=f"2 to 16 bits, not {bits}"):
            _converted(spiking(make(TinyLeaky), images(2), get_recipe("dcgs")), bits)


def _converted(plain, bits):
    taken = statistics(plain.graph, images(2))
    return convert(plain.graph, plain.spec, taken, plain.recipe, weight_bits=bits)
