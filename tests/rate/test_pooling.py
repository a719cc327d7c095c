"""Cumulative max pooling against loops and in networks, and to whom it hands on its sum."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers.methods import relative_error
from helpers.networks import TinyLeaky, images, make, spiking
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.rate.synapses import CumulativeMaxPool
from spiking_yolo.spikes.plan import NetworkPlan


def attributes(
    size: list[int], padding: tuple[int, ...] = (0, 0, 0, 0), ceil: bool = False
) -> dict[str, Any]:
    """Of windows that do not overlap."""
    return {"kernel": size, "stride": size, "padding": [*padding], "ceil": ceil}


@st.composite
def geometries(draw: Any) -> dict[str, Any]:
    """Any kernel and stride, each side's padding below the kernel; rounding the size up only
    without padding.
    """
    kernel = [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    stride = [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    ceil = draw(st.booleans())
    sides = [0] * 4 if ceil else [draw(st.integers(0, kernel[axis] - 1)) for axis in (1, 1, 0, 0)]
    return {"kernel": kernel, "stride": stride, "padding": sides, "ceil": ceil}


TILES = st.sampled_from([attributes([2, 2]), attributes([2, 2], (0, 1, 0, 1))])


def starts(size: int, before: int, after: int, kernel: int, stride: int, ceil: bool) -> list[int]:
    """Where windows start. Rounding up adds one for the rest that no whole window reaches, if it
    starts inside.
    """
    size += before + after
    whole = list(range(0, size - kernel + 1, stride))
    if ceil and whole[-1] + kernel < size and whole[-1] + stride < size:
        whole.append(whole[-1] + stride)
    return [start - before for start in whole]


def looped_max_pool(x: np.ndarray, a: dict[str, Any]) -> np.ndarray:
    """The maximum over the part of every window that lies inside x [N, C, H, W]."""
    left, right, top, bottom = a["padding"]
    (kh, kw), (sh, sw) = a["kernel"], a["stride"]
    rows = starts(x.shape[2], top, bottom, kh, sh, a["ceil"])
    columns = starts(x.shape[3], left, right, kw, sw, a["ceil"])
    pooled = [
        [x[:, :, max(i, 0) : i + kh, max(j, 0) : j + kw].max((2, 3)) for j in columns] for i in rows
    ]
    return np.array(pooled).transpose(2, 3, 0, 1)


@given(geometries() | TILES, st.integers(4, 6), st.integers(0, 2**31))
def test_what_is_sent_adds_up_to_the_maximum_of_what_arrived(a, height, seed):
    """After every step, for input of either sign; inputs are multiples of 1/8, so that sums are
    exact. Where windows of 2 x 2 tile the map, maxima are of pairs.

    A part of a spike counts as one.
    """
    generator = np.random.default_rng(seed)
    pool, arrived, sent, moved = CumulativeMaxPool(a), 0.0, 0.0, np.zeros(())
    for _ in range(5):
        x = generator.integers(-16, 17, (2, 2, height, 6)) / 8
        out = pool(torch.from_numpy(x)).numpy()
        arrived, sent, moved = arrived + x, sent + out, moved + np.ceil(np.abs(out))
        np.testing.assert_array_equal(sent, looped_max_pool(arrived, a))
    np.testing.assert_array_equal(pool.tally.counts().spikes.numpy(), moved.sum(1, keepdims=True))


def test_events_are_counted_in_spikes():
    pool = CumulativeMaxPool(attributes([1, 1]))
    pool(torch.full((1, 1, 1, 1), 3.0))
    pool(torch.full((1, 1, 1, 1), -0.5), spike_weight=0.25)
    assert [n.item() for n in pool.tally.counts()] == [3 + 2, 2 + 1, 1 + 1]
    pool(torch.full((1, 1, 1, 1), 0.01))
    assert [n.item() for n in pool.tally.counts()] == [6, 4, 3]


# The last two look at the input of each step.
@pytest.mark.parametrize(("method", "summed"), [("dcgs", True), ("msat", False), ("p-norm", False)])
def test_a_sum_that_is_handed_on_leads_to_what_its_changes_lead_to(method: str, summed: bool):
    """Without a probe memory neurons behind a pooling read its sum; with one they get the changes
    of it.
    """
    x = images(3)
    converted = spiking(make(TinyLeaky), x, get_recipe(method))
    network, observed = converted.network(), converted.simulator(observed=True)
    run, watched = (net.run(x, 24, [1, 8]) for net in (network, observed))
    assert list(network.plan.sums) == (["act2"] if summed else []) and not observed.plan.sums
    for t in (1, 8, 24):
        a, b = run.snapshots[t], watched.snapshots[t]
        torch.testing.assert_close(a.outputs, b.outputs, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(a.operations.spikes, b.operations.spikes, rtol=1e-12, atol=0)
        assert all(torch.equal(a.spikes[name], b.spikes[name]) for name in a.spikes)


class Shared(nn.Module):
    """A max pooling of neurons whose output goes to neurons of its own, and elsewhere as `use`
    says. [N, 3, 8, 8].
    """

    def __init__(self, use: str = "conv"):
        super().__init__()
        self.use, self.pool = use, nn.MaxPool2d(2)
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2, self.conv3 = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        pooled = self.pool(torch.relu(self.conv1(x)) + x[:, :1])
        own = torch.relu(pooled)
        if self.use == "conv":
            return self.conv3(own + torch.relu(self.conv2(pooled)))
        return (self.conv3(own), pooled) if self.use == "output" else self.conv3(own)


@pytest.mark.parametrize(("use", "sums"), [("conv", 0), ("output", 0), ("nothing", 1)])
def test_a_pooling_with_another_consumer_sends_changes(use: str, sums: int):
    model, x = make(Shared, use=use), images(2)
    converted = spiking(model, x, get_recipe("dcgs"))
    plan = NetworkPlan(converted.graph, converted.recipe)
    assert [plan.graph[pool].op for pool in plan.sums.values()] == ["max_pool"] * sums
    run = converted.network().run(x, 64, [8])
    for t, most in ((8, 0.2), (64, 0.05)):
        assert relative_error(run.snapshots[t].outputs, model(x)) < most
