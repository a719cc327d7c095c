"""The quantised ANN: its grid by brute force, and that it approaches the ANN."""

import pytest
import torch
from helpers.tiny import write_tiny
from hypothesis import assume, given
from hypothesis import strategies as st

from spiking_yolo.convert.load import load_statistics
from spiking_yolo.convert.thresholds import mmse
from spiking_yolo.data.images import Picture, preprocessed
from spiking_yolo.evaluate.baselines import activation_range, quantise, quantised_ann
from spiking_yolo.graph import Activation, forward
from spiking_yolo.models.load import load_ann


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6), st.floats(0, 2), st.floats(0.01, 2))
def test_nearest_of_all_levels(values, below, above):
    low, high = (torch.tensor([v], dtype=torch.float64) for v in (below, above))
    found = quantise(torch.tensor(values, dtype=torch.float64)[None, None], low, high)
    step = (below + above) / 255
    # Either neighbour of a tie is right.
    assume(abs(below / step % 1 - 0.5) > 1e-6)
    lowest = -round(below / step)
    grid = [k * step for k in range(lowest, lowest + 256)]
    assert 0.0 in grid
    for value, q in zip(values, found.flatten().tolist(), strict=True):
        assert abs(q - value) <= min(abs(g - value) for g in grid) + 1e-9
        assert min(abs(g - q) for g in grid) < 1e-9


def test_channels_have_their_own_range_and_an_empty_one_is_zero():
    x = torch.tensor([[[5.0, 0.3], [5.0, -5.0], [5.0, 1.0]]])[..., None]
    found = quantise(x, torch.tensor([0.0, 1.0, 0.0]), torch.tensor([1.0, 2.0, 0.0]))
    assert found.flatten().tolist() == pytest.approx([1, 76 / 255, 2, -1, 0, 0])


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantised")
    ann = load_ann(write_tiny(folder))
    pictures = [Picture.file(str(path)) for path in (folder / "photos").iterdir()]
    return ann, torch.cat(list(preprocessed(pictures, ann.spec)))


def test_it_is_close_to_the_ann_and_takes_few_values(network):
    """The input of the layer behind the first activation has at most 2^8 values per channel, within
    its range.
    """
    ann, x = network
    graph, statistics = ann.graph, load_statistics(ann)
    first, second = graph.activations[:2]
    below, above = activation_range(statistics.histograms[first.name], first.phi)
    part = type(graph)(graph.nodes, (first.name, second.name, *graph.outputs), graph.tensors)
    sent, _, found = quantised_ann(part, statistics)(x)
    (exact,) = forward(graph, x)
    assert 1e-4 < (found - exact).norm() / exact.norm() < 0.05
    seen = []
    for channel, values in enumerate(sent.transpose(0, 1)):
        levels = values.unique()
        seen.append(len(levels))
        step = (below[channel] + above[channel]).item() / 255
        assert levels.max() <= above[channel] + step and levels.min() >= -below[channel] - step
    assert 100 < max(seen) <= 256


@pytest.mark.parametrize("levels", [None, 4])
def test_range_has_the_least_squared_error_below_the_cap(network, levels):
    ann, _ = network
    site = ann.graph.activations[0]
    histogram = load_statistics(ann).histograms[site.name]
    below, above = activation_range(histogram, site.phi)
    assert torch.equal(above, mmse(histogram, 0, 255, 1, True))
    assert torch.allclose(below, site.phi.slope * mmse(histogram, 1, 255, 1, True))
    cap = histogram.maximum.max().item() / 2
    below, above = activation_range(histogram, Activation(cap=cap, levels=levels))
    assert torch.equal(above, mmse(histogram, 0, 255, 1, True, cap))
    assert (above <= cap).all() and not below.any()
