"""The quantised ANN: its grid by brute force, and that it approaches the ANN."""

import math
from dataclasses import replace

import pytest
import torch
from helpers.evaluating import make_network, make_photos
from hypothesis import assume, given
from hypothesis import strategies as st

from spiking_yolo.convert.learn.statistics import preprocessed
from spiking_yolo.convert.load import load_statistics
from spiking_yolo.convert.thresholds import mmse
from spiking_yolo.data.images import Picture
from spiking_yolo.evaluate.quantised import activation_range, quantise, quantised_ann
from spiking_yolo.graph import Activation, forward
from spiking_yolo.models.load import load_ann


@given(
    st.lists(st.floats(-3, 3), min_size=1, max_size=6),
    st.floats(0, 2),
    st.floats(0.01, 2),
    st.integers(1, 5),
)
def test_nearest_of_all_levels(values, below, above, bits):
    low, high = (torch.tensor([v], dtype=torch.float64) for v in (below, above))
    found = quantise(torch.tensor(values, dtype=torch.float64)[None, None], low, high, bits)
    step = (below + above) / (2**bits - 1)
    # Either neighbour of a tie is right.
    assume(abs(below / step % 1 - 0.5) > 1e-6)
    lowest = -round(below / step)
    grid = [k * step for k in range(lowest, lowest + 2**bits)]
    assert 0.0 in grid and len(grid) == 2**bits
    for value, q in zip(values, found.flatten().tolist(), strict=True):
        assert abs(q - value) <= min(abs(g - value) for g in grid) + 1e-9
        assert min(abs(g - q) for g in grid) < 1e-9


def test_channels_have_their_own_range_and_an_empty_one_is_zero():
    x = torch.tensor([[[5.0, 0.3], [5.0, -5.0], [5.0, 1.0]]])[..., None]
    found = quantise(x, torch.tensor([0.0, 1.0, 0.0]), torch.tensor([1.0, 2.0, 0.0]), 2)
    assert found.flatten().tolist() == pytest.approx([1, 1 / 3, 2, -1, 0, 0])


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantised")
    photos = make_photos(folder, 3)
    ann = load_ann(make_network(folder, photos))
    pictures = [Picture.file(str(path)) for path in photos]
    return ann, torch.cat(list(preprocessed(pictures, ann.spec)))


def test_more_bits_come_closer(network):
    ann, x = network
    (exact,) = forward(ann.graph, x)
    errors = [
        (quantised_ann(ann.graph, load_statistics(ann), bits)(x)[0] - exact).norm() / exact.norm()
        for bits in (2, 4, 8)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.05 > errors[-1] > 1e-4


def test_activations_take_few_values(network):
    """The input of the layer behind the first activation has at most 2^3 values per channel, within
    its range.
    """
    ann, x = network
    graph, statistics = ann.graph, load_statistics(ann)
    site = graph.activations[0]
    below, above = activation_range(statistics.histograms[site.name], site.phi, 3, "mmse")
    seen = []
    second = graph.activations[1].name
    part = type(graph)(graph.nodes, (site.name, second), graph.tensors)
    forward = quantised_ann(part, replace(statistics, quantisers={}), 3)
    for channel, values in enumerate(forward(x)[0].transpose(0, 1)):
        levels = values.unique()
        seen.append(len(levels))
        step = (below[channel] + above[channel]).item() / 7
        assert levels.max() <= above[channel] + step and levels.min() >= -below[channel] - step
    assert max(seen) <= 8 and max(seen) >= 5


def test_range_is_whole_or_clipped(network):
    ann, _ = network
    site = ann.graph.activations[0]
    histogram, phi = load_statistics(ann).histograms[site.name], site.phi
    below, above = activation_range(histogram, phi, 12, "max")
    assert torch.equal(above, histogram.maximum.clamp(min=0))
    assert torch.allclose(below, phi.slope * (-histogram.minimum).clamp(min=0))
    few = activation_range(histogram, phi, 2, "mmse")
    assert (few[1] <= above).all() and (few[1] < above).any()
    assert math.isclose(activation_range(histogram, Activation(), 4, "mmse")[0].sum().item(), 0)


def test_range_ends_at_the_cap(network):
    """By the smallest error of what the cap leaves for few bits; the largest activation for
    many.
    """
    for levels in [None, 4]:
        ann, _ = network
        histogram = load_statistics(ann).histograms[ann.graph.activations[0].name]
        cap = histogram.maximum.max().item() / 2
        phi = Activation(cap=cap, levels=levels)
        below, above = activation_range(histogram, phi, 12, "max")
        assert torch.equal(above, histogram.maximum.clamp(0, cap)) and not below.any()
        assert torch.equal(
            activation_range(histogram, phi, 3, "mmse")[1], mmse(histogram, 0, 7, 1, True, cap)
        )
        assert (activation_range(histogram, phi, 3, "mmse")[1] <= cap).all()


def test_the_quantiser_of_the_statistics_is_used(network):
    ann, x = network
    statistics = load_statistics(ann)
    default, mmse, maximum = (
        quantised_ann(ann.graph, replace(statistics, quantisers=chosen), 4)(x)[0]
        for chosen in ({}, {4: "mmse"}, {4: "max"})
    )
    assert torch.equal(default, mmse) and not torch.equal(default, maximum)
