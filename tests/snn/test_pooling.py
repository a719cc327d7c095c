"""Cumulative max pooling against loops, and against what goes wrong without it."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from helpers.methods import relative_error
from helpers.networks import Pooled, TinyLeaky, images, make, spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.graph import max_pool
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.counting import Tally
from spiking_yolo.snn.fast.dense import tiles
from spiking_yolo.snn.pooling import CumulativeMaxPool


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


@settings(deadline=None)
@given(geometries(), st.integers(0, 2**31))
def test_what_is_sent_adds_up_to_the_maximum_of_what_arrived(a: dict[str, Any], seed: int):
    """After every step, for input of either sign; inputs are multiples of 1/8, so that sums are
    exact.

    A part of a spike counts as one.
    """
    generator = np.random.default_rng(seed)
    pool, arrived, sent, moved = CumulativeMaxPool(a), 0.0, 0.0, np.zeros(())
    for _ in range(5):
        x = generator.integers(-16, 17, (2, 2, 5, 6)) / 8
        out = pool(torch.from_numpy(x)).numpy()
        arrived, sent, moved = arrived + x, sent + out, moved + np.ceil(np.abs(out))
        np.testing.assert_array_equal(sent, looped_max_pool(arrived, a))
    np.testing.assert_array_equal(pool.counts.spikes.numpy(), moved.sum(1, keepdims=True))


def test_the_forms_for_2_x_2_give_the_same():
    """Where windows tile the map, maxima of pairs; elsewhere those of PyTorch."""
    shapes = {(2, 3, 4, 6): True, (2, 3, 5, 6): False, (2, 3, 4, 7): False}
    tiling = {(0, 0, 0, 0): True, (0, 1, 0, 1): True}
    tiling |= {(1, 1, 1, 1): False, (1, 0, 0, 0): False, (0, 1, 1, 0): False}
    dtypes = (torch.float32, torch.float64)
    for shape, padding, ceil, dtype in product(shapes, tiling, (False, True), dtypes):
        a = attributes([2, 2], padding, ceil and not any(padding))
        assert tiles(shape[2], shape[3], **a) == (shapes[shape] and tiling[padding])
        plain = CumulativeMaxPool(a)
        generator = torch.Generator().manual_seed(1)
        arrived, sent = torch.zeros(shape), torch.zeros(())
        for _ in range(3):
            x = torch.randint(-16, 17, shape, generator=generator).div(8).to(dtype)
            out = plain(x).clone()
            arrived, sent = arrived + x, sent + out
            torch.testing.assert_close(sent, max_pool(arrived, **a), rtol=0, atol=0)


STEPS = [[1.0, 0.0, -1.0], [0.0, 2.0, -1.0], [0.0, -2.0, 1.0]]


def row(pool: CumulativeMaxPool) -> list[list[float]]:
    """What it sends of STEPS."""
    return [pool(torch.tensor(z).reshape(1, 1, 1, 3)).flatten().tolist() for z in STEPS]


def test_by_hand():
    """2 x 1 windows: the neuron that leads changes, and the pooled sum with it; padding
    never wins.
    """
    a = attributes([1, 2], (0, 1, 0, 0))
    pool = CumulativeMaxPool(a)
    assert row(pool) == [[1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]
    assert pool.counts.spikes.flatten().tolist() == [3.0, 3.0]
    # One that hands on its sum.
    summed = CumulativeMaxPool(a, sends_sums=True)
    assert row(summed) == [[1.0, -1.0], [2.0, -2.0], [1.0, -1.0]]


def test_events_are_counted_in_spikes():
    pool = CumulativeMaxPool(attributes([1, 1]))
    pool(torch.full((1, 1, 1, 1), 3.0))
    pool(torch.full((1, 1, 1, 1), -0.5), spike_weight=0.25)
    assert [n.item() for n in pool.counts] == [3 + 2, 2 + 1, 1 + 1]
    pool(torch.full((1, 1, 1, 1), 0.01))
    assert [n.item() for n in pool.counts] == [6, 4, 3]


def test_reset_and_another_shape():
    pool = CumulativeMaxPool(attributes([2, 2]))
    x = torch.rand(2, 3, 4, 4)
    first = pool(x).clone()
    pool(x)
    pool.reset()
    assert torch.equal(pool(x), first)
    assert torch.equal(pool.counts.spikes, (first > 0).sum(1, keepdim=True).double())
    pool.reset()
    assert pool(x[:1, :, :2]).shape == (1, 3, 1, 2)


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


def step_of_direct_pooling(
    self: CumulativeMaxPool, current: Tensor, spike_weight: float = 1.0
) -> Tensor:
    a = self.attrs
    out = max_pool(current, a["kernel"], a["stride"], a["padding"], a["ceil"])
    self.tally = Tally(out, bursts=False)
    return out


@torch.no_grad()
def test_direct_pooling_of_spikes_does_not_converge_and_ours_does(monkeypatch: pytest.MonkeyPatch):
    """A window fires whenever any of its neurons does: its rate exceeds the largest, however long
    the run.
    """
    model, x = make(Pooled), images(4)
    settings = {"threshold.percentile": 100, "neuron.initial": 0.5}
    converted = spiking(model, x, Recipe("if"), settings)

    def errors() -> list[float]:
        found = converted.network().run(x, 512, [32]).snapshots
        return [relative_error(found[t].outputs, model(x)) for t in (32, 512)]

    ours = errors()
    monkeypatch.setattr(CumulativeMaxPool, "forward", step_of_direct_pooling)
    direct = errors()
    assert ours[1] < 0.2 * ours[0] and ours[1] < 0.01
    assert direct[1] > 0.5 * direct[0] and direct[1] > 10 * ours[1]


def test_sums_of_another_device_are_not_gone_on_with():
    summed = CumulativeMaxPool(attributes([2, 2]), sends_sums=True)
    summed(torch.ones(1, 1, 4, 4))
    summed.reset()
    assert summed(torch.ones(1, 1, 4, 4, device="meta")).is_meta
