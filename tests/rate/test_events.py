"""Convolutions by events and max pooling in C against PyTorch."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.graph import Node, max_pool
from spiking_yolo.rate.convolution import MOST_EVENTS, EventConvolution
from spiking_yolo.rate.library import library
from spiking_yolo.rate.synapses import CumulativeMaxPool

pytestmark = pytest.mark.skipif(library() is None, reason="not built")


def conv(stride: int, padding: int) -> Node:
    attrs = {"stride": [stride] * 2, "padding": [padding] * 2, "dilation": [1, 1], "groups": 1}
    return Node("conv", "conv", ("x",), attrs)


@given(
    st.sampled_from([(32, 16), (40, 33), (33, 130)]),
    st.sampled_from([(1, 1, 0), (3, 1, 1), (3, 2, 1), (2, 2, 0), (5, 1, 2), (3, 3, 0)]),
    st.sampled_from([(6, 7), (5, 5), (9, 8)]),
    st.booleans(),
)
def test_what_arrives_is_added_up(channels: Any, geometry: Any, size: Any, biased: bool):
    kernel, stride, padding = geometry
    random = torch.manual_seed(0)
    weight = torch.randn(channels[1], channels[0], kernel, kernel, generator=random)
    bias = torch.randn(channels[1], generator=random)
    x = torch.randn(2, channels[0], *size, generator=random)
    x = torch.where(torch.rand(x.shape, generator=random) < 0.2, x, 0.0)
    node = conv(stride, padding)
    assert EventConvolution.takes(node, weight)
    out = EventConvolution(node, weight, bias)(x, biased)
    assert out is not None
    expected = F.conv2d(x.double(), weight.double(), None, stride, padding)
    if biased:
        expected += bias.double()[:, None, None]
    # In another order than PyTorch's: the rounding of up to 200 summands in float32.
    assert torch.allclose(out.double(), expected, atol=1e-4)


def test_much_is_left_to_pytorch():
    """And whole numbers, of which every sum is exact, are the same to the bit."""
    weight = torch.randint(-8, 8, (64, 32, 3, 3)).float()
    layer = EventConvolution(conv(1, 1), weight, None)
    x = torch.ones(1, 32, 8, 8)
    assert layer(x, True) is None
    # All channels of a third of the columns: of the pairs beside each other two thirds.
    x = torch.zeros(1, 32, 9, 9)
    x[..., ::3] = 3
    assert MOST_EVENTS > 2 / 3
    out = layer(x, True)
    assert out is not None and torch.equal(out, F.conv2d(x, weight, None, padding=1))
    assert not EventConvolution.takes(conv(1, 1), weight.double())
    assert not EventConvolution.takes(conv(1, 1), weight[:, :16])


@pytest.mark.parametrize("bursts", [False, True])
@pytest.mark.parametrize("channels", [5, 16])
@pytest.mark.parametrize(
    "geometry", [(2, 2, 0, False), (3, 2, 1, False), (2, 1, 0, False), (2, 2, 0, True)]
)
def test_pooling_is_that_of_sums(geometry: Any, channels: int, bursts: bool):
    """The sum of what is sent is the pooled sum, and its spikes are counted, to the bit."""
    kernel, stride, padding, ceil = geometry
    attrs = {"kernel": [kernel] * 2, "stride": [stride] * 2, "padding": [padding] * 4, "ceil": ceil}
    pool, total, before = CumulativeMaxPool(attrs), torch.zeros(2, channels, 7, 9), torch.zeros(1)
    pool.reset(bursts)
    spikes, events = torch.zeros(1), torch.zeros(1)
    for t in range(8):
        x = torch.randint(-4, 9, total.shape) / 4
        out = pool(x)
        assert (pool._in_c is None) is False, t
        total = total + x
        sums = max_pool(total, **attrs)
        assert torch.equal(out, sums - before)
        fired = (sums - before).abs().ceil() if bursts else (sums != before).float()
        spikes, events = spikes + fired, events + fired.sum(1, keepdim=True)
        before = sums
    assert torch.equal(pool.tally.count, spikes)
    assert torch.equal(pool.tally.counts().spikes, events.double())
