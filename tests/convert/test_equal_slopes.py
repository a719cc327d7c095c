"""The fewest digits at an error, against hand-computed values and what the derivation says."""

import itertools

import pytest
import torch
from helpers.networks import TinyLeaky, images, make
from torch import Tensor

from spiking_yolo.convert.equal_slopes import (
    QUANTILES,
    Allocation,
    Sender,
    Site,
    allocate,
    draw_positions,
    equal_slopes,
    evaluate,
)
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.graph.trace import trace
from spiking_yolo.models.spec import Spec
from spiking_yolo.options import silent


def sender(values: list[list[float]], cost: Tensor | None = None) -> Sender:
    """Rows of channels, each of which costs 1 per event unless `cost` says otherwise."""
    return Sender(torch.tensor(values), torch.ones(len(values), 1) if cost is None else cost)


def total(site: Site, one: Allocation) -> tuple[float, float]:
    return float((site.sensitivity * one.distortion).sum()), float(one.operations.sum())


def test_distortion_and_operations_by_hand():
    """theta = 1/2, zero point 1: 1, 2.6 and 4.6 are 0, 3.2 and 7.2 thetas away from it, and 3 and 7
    have two digits. The second position counts double.
    """
    cost = torch.tensor([[1.0], [2.0], [1.0]])
    site = Site(torch.ones(1), [sender([[1.0], [2.6], [4.6]], cost)])
    one = evaluate(site, 0.0, torch.tensor([0.5]), torch.tensor([1.0]))
    assert one.operations.item() == pytest.approx((0 + 2 * 2 + 2) / 3)
    assert one.distortion.item() == pytest.approx((0 + 0.1**2 + 0.1**2) / 3, rel=1e-4)
    assert one.error.item() == pytest.approx(0.2 / 3, rel=1e-4)


def test_max_pooling_behind_the_site_sends_events_of_its_own():
    own, pooled = sender([[1.0], [3.0]]), sender([[3.0]])
    one = evaluate(Site(torch.ones(1), [own, pooled]), 0.0, torch.ones(1), torch.zeros(1))
    assert one.operations.item() == pytest.approx((1 + 2) / 2 + 2)
    assert one.distortion.item() == 0


@pytest.mark.parametrize("slack", [0.0, 0.15])
def test_a_higher_price_buys_fewer_operations(slack: float):
    x = torch.randn(512, 4, generator=torch.Generator().manual_seed(0)).relu()
    site = Site(torch.tensor([1.0, 0.3, 0.1, 2.0]), [sender(x.tolist())])
    prices = (0.01, 0.03, 0.1, 0.3, 1.0)
    pairs = [total(site, allocate(site, price, slack, QUANTILES)) for price in prices]
    for (error, operations), (more, fewer) in itertools.pairwise(pairs):
        assert more > error and fewer < operations


def test_fine_thetas_lie_where_the_derivation_says():
    """A third of a digit per octave, theta = 1.70 scales, and a slack of ln 2 / 4 = 0.17."""
    x = torch.rand(1 << 14, 1, generator=torch.Generator().manual_seed(0)) * 1000
    site = Site(torch.ones(1), [sender(x.tolist())])

    def lagrangian(slack: float, step: float) -> float:
        one = evaluate(site, slack, step * site.scale(1.0), torch.zeros(1))
        return one.distortion.item() + one.operations.item()

    fine, coarse = (evaluate(site, 0.0, torch.tensor([t]), torch.zeros(1)) for t in (0.05, 0.8))
    assert (fine.operations - coarse.operations).item() == pytest.approx(4 / 3, abs=0.02)
    steps = [1.7 * 1.3**k for k in range(-2, 3)]
    assert min(steps, key=lambda step: lagrangian(0.0, step)) == 1.7
    slacks = [0.0, 0.09, 0.17, 0.25, 0.33]
    assert min(slacks, key=lambda slack: lagrangian(slack, 1.7)) in (0.17, 0.25)


def test_drawn_positions_have_the_costs_of_their_places():
    maps = torch.arange(24.0).reshape(1, 2, 3, 4)
    cost = torch.arange(12.0).reshape(1, 1, 3, 4)
    values, costs = draw_positions(maps, cost, 100, torch.Generator().manual_seed(0))
    order = values[:, 0].argsort()
    assert values[order].T.tolist() == [list(range(12)), list(range(12, 24))]
    assert costs[order, 0].tolist() == [12 * k for k in range(12)]


def test_fewer_operations_have_larger_thetas():
    graph, x = trace(make(TinyLeaky), images(2)), images(2)
    spec = Spec(width=8, height=8, task="classify", names=("a",))
    recipe = get_recipe("signed-digits")

    def thetas(operations: float) -> Tensor:
        neurons = equal_slopes(graph, spec, recipe, [x], operations, 0, silent)
        return torch.cat([own["theta"] for own in neurons.values()])

    assert (thetas(0.2) > thetas(0.6)).float().mean() > 0.8
    with pytest.raises(UserError, match="operations"):
        thetas(100.0)
