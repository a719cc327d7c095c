"""The histogram against plain counting of the raw values."""

import bz2
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.networks import TinyLeaky, images, make, statistics
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking_yolo.convert.statistics import (
    DIVISIONS,
    OCTAVES,
    Histogram,
    Statistics,
    collect_histograms,
    edges,
)
from spiking_yolo.errors import UserError
from spiking_yolo.graph import forward
from spiking_yolo.graph.trace import trace

# Few significant digits, widely different magnitudes: the counts are then exact in float32.
values = st.builds(lambda m, e: m * 2.0**e, st.integers(-64, 64), st.integers(-20, 20))
batches = st.lists(st.lists(values, min_size=4, max_size=4), min_size=1, max_size=5)


def counted(*batches: Tensor) -> Histogram:
    histogram = Histogram.empty(batches[0].shape[1])
    for x in batches:
        histogram.update(x)
    return histogram


def assert_equal(a: Histogram, b: Histogram) -> None:
    for name in ("counts", "exponent", "minimum", "maximum"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert a.total == b.total


def test_counts_by_hand():
    """Top 2^2 for a maximum of 3: 3 = 1.5 * 2^1 lies in the middle of the last octave, 1.5 in the
    one before.
    """
    h = counted(torch.tensor([3.0, 1.5, 0.0, -0.75, 1e-6]).reshape(5, 1))
    assert h.exponent.tolist() == [2] and h.total == 5
    last = 1 + (OCTAVES - 1) * DIVISIONS
    positive = {last + DIVISIONS // 2: 1, last - DIVISIONS + DIVISIONS // 2: 1, 0: 1}
    assert {i: int(n) for i, n in enumerate(h.counts[0, 0]) if n} == positive
    middle = last - 2 * DIVISIONS + DIVISIONS // 2
    assert {i: int(n) for i, n in enumerate(h.counts[1, 0]) if n} == {middle: 1}
    assert (h.minimum.item(), h.maximum.item()) == (-0.75, 3.0)


def test_counts_against_numpy():
    x = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    x *= torch.tensor([0.1, 1.0, 30.0])
    h = counted(x)
    for c in range(3):
        for sign, side in enumerate((x[:, c][x[:, c] > 0], -x[:, c][x[:, c] < 0])):
            bins = edges().numpy() * 2.0 ** h.exponent[c].item()
            expected, _ = np.histogram(side.double().numpy(), bins)
            # An edge's rounding.
            assert np.abs(np.cumsum(expected) - h.counts[sign, c].cumsum(0).numpy()).max() <= 1


@settings(deadline=None, max_examples=60)
@example([[0, 0, 0, 0], [2.0**-18, 0, 2.0**-16, 0]])
@given(batches)
def test_growing_ranges_in_one_pass_equal_one_update_with_everything(rows: list[list[float]]):
    """Batches of two channels, in any order of magnitude, zeros included."""
    parts = [torch.tensor(row).reshape(2, 2) for row in rows]
    assert_equal(counted(*parts), counted(torch.cat(parts)))


@settings(deadline=None, max_examples=60)
@given(batches)
def test_pooled_is_the_histogram_of_all_channels_as_one(rows: list[list[float]]):
    x = torch.tensor(rows)
    assert_equal(counted(x).pooled(), counted(x.reshape(-1, 1)))


def test_histograms_count_every_pre_activation_of_every_site():
    model, x = make(TinyLeaky), images(4)
    graph = trace(model, x[:1])
    taps: dict[str, Tensor] = {}
    forward(graph, x, lambda node, before, after: taps.update({node.name: before}))
    split = collect_histograms(graph, [x[:1], x[1:]])
    assert list(split) == ["act1", "act2", "act3"]
    for name, before in taps.items():
        assert_equal(split[name], counted(before))
        assert split[name].total == before[:, 0].numel()


def packed_bytes(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(bz2.compress(data)), dtype=torch.uint8)


HOSTILE: dict[str, Any] = {
    "bomb": lambda m, t: t.update(counts=packed_bytes(bytes(10**8))),
    "too few counts": lambda m, t: t.update(counts=packed_bytes(bytes(10))),
    "not compressed": lambda m, t: t.update(counts=torch.ones(50, dtype=torch.uint8)),
    "cut off": lambda m, t: t.update(counts=t["counts"][:-20].clone()),
    "channels below zero": lambda m, t: m.update(channels=dict.fromkeys(m["channels"], -1)),
    "a total as a word": lambda m, t: m.update(totals=dict.fromkeys(m["totals"], "x")),
}


def test_contents_come_back_and_damaged_ones_are_refused():
    whole = statistics(trace(make(TinyLeaky), images(1)), images(2))
    again = Statistics.of_contents(*whole.contents(), "0" * 64, (8, 8))
    for name, histogram in whole.histograms.items():
        assert_equal(again.histograms[name], histogram)
    for change in HOSTILE.values():
        tensors, content = whole.contents()
        change(content, tensors)
        with pytest.raises((LookupError, OSError, RuntimeError, TypeError, ValueError)):
            Statistics.of_contents(tensors, content, "0" * 64, (8, 8))


def test_statistics_of_another_network_are_refused():
    graph = trace(make(TinyLeaky), images(1))
    s = statistics(graph, images(1))
    s.check(graph, (8, 8))
    with pytest.raises(UserError, match="of 8 pixels, not 8x16"):
        s.check(graph, (8, 16))
    missing = Statistics(dict(list(s.histograms.items())[1:]), s.weights_sha256, s.imgsz, s.images)
    with pytest.raises(UserError, match="other activations"):
        missing.check(graph, (8, 8))


def test_activations_that_are_not_finite_name_the_node():
    graph = trace(make(TinyLeaky), images(1))
    huge = {key: value * 1e200 for key, value in graph.tensors.items()}
    with pytest.raises(UserError, match="the input of node 'act1' is not finite"):
        collect_histograms(replace(graph, tensors=huge), [images(1)])
