"""The least digits at an error, against every code of small laws."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking_yolo.metrics.rate_distortion import (
    Allocation,
    CheapestDigits,
    Code,
    OneEvent,
    Rounding,
    Sender,
    Site,
    allocate,
    bits,
    entropy,
    evaluate,
    predicted,
    shannon_bound,
)
from spiking_yolo.snn.counting import count_digits


def sender(values: list[list[float]], cost: Tensor | None = None) -> Sender:
    """Rows of channels, each of which costs 1 per event unless `cost` says otherwise."""
    x = torch.tensor(values)
    return Sender(
        x, torch.ones(len(x), 1) if cost is None else cost, torch.full((3, *x.shape), math.nan)
    )


def total(site: Site, one: Allocation) -> tuple[float, float]:
    return float((site.sensitivity * one.distortion).sum()), float(one.operations.sum())


def test_distortion_and_operations_by_hand():
    """theta = 1/2, at rest at 1: 1, 2.6 and 4.6 are 0, 3.2 and 7.2 thetas away from it, and 3 and 7
    have two digits. The second position counts double.
    """
    cost = torch.tensor([[1.0], [2.0], [1.0]])
    site = Site(torch.ones(1), [sender([[1.0], [2.6], [4.6]], cost)])
    one = evaluate(site, Rounding(), 1.0, torch.tensor([0.5]), torch.tensor([1.0]))
    assert one.operations.item() == pytest.approx((0 + 2 * 2 + 2) / 3)
    assert one.distortion.item() == pytest.approx((0 + 0.1**2 + 0.1**2) / 3, rel=1e-4)
    assert one.error.item() == pytest.approx(0.2 / 3, rel=1e-4)


@settings(deadline=None, max_examples=60)
@given(x=st.floats(-300, 300, width=32), step=st.sampled_from([0.1, 0.25, 0.4, 1.0, 1.7, 5.0]))
def test_cheapest_digits_are_the_cheapest_of_all_numbers(x: float, step: float):
    numbers = torch.arange(-1024, 1025).double()
    costs = (x - numbers).square() + count_digits(numbers) / step**2
    n, digits = CheapestDigits()(torch.tensor([x]), step)
    own = (x - n.double()).square() + digits.double() / step**2
    assert own.item() == pytest.approx(costs.min().item(), rel=1e-5, abs=1e-5)
    assert digits == count_digits(n)


# With up to two digits, and beside their doubles.
NUMBERS = (-8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8)


def every_code(site: Site, channel: int, price: float) -> tuple[Tensor, Tensor]:
    """Error and operations of every map of a channel's values to thirteen numbers of thetas at rest
    0, for every theta of CheapestDigits and its doubles.
    """
    x = site.values[:, channel].double()
    weight = site.senders[0].cost.expand_as(site.values)[:, channel].double()
    maps = torch.tensor(list(itertools.product(NUMBERS, repeat=len(x)))).double()
    operations = (count_digits(maps) * weight).mean(1)
    scale = site.scale(price)[channel].double()
    errors = []
    for step in CheapestDigits.steps:
        for double in range(4):
            theta = scale * step * 2**double
            errors.append((x - maps * theta).square().mean(1) * site.sensitivity[channel])
    return torch.stack(errors).flatten(), operations.repeat(len(errors))


@pytest.mark.parametrize("price", [0.1, 1.0])
def test_no_codes_of_two_channels_beat_equal_slopes(price: float):
    """All pairs of codes of two channels with four values each: (16 x 13^4)^2 of them."""
    cost = torch.tensor([[1.0, 3.0], [1.0, 2.0], [1.0, 3.0], [1.0, 4.0]])
    values = [[0.1, -0.2], [0.7, 0.4], [-1.3, 2.5], [2.2, 1.1]]
    site = Site(torch.tensor([1.0, 0.4]), [sender(values, cost)])
    best = allocate(site, price, CheapestDigits(), ())
    error, operations = total(site, best)
    codes = [every_code(site, channel, price) for channel in range(2)]
    least = sum((e + price * o).min().item() for e, o in codes)
    # A value at rest that moved to the centre can only help.
    assert error + price * operations <= least + 1e-6
    fixed = [
        evaluate(site, CheapestDigits(), s, s * site.scale(price), torch.zeros(2))
        for s in CheapestDigits.steps
    ]
    slopes = torch.stack([site.sensitivity * f.distortion + price * f.operations for f in fixed])
    assert slopes.amin(0).sum().item() == pytest.approx(least, rel=1e-5)
    # Of all pairs within the error, the fewest operations.
    (first, of_first), (second, of_second) = codes
    order = first.argsort()
    fewest = torch.cummin(of_first[order], 0).values
    room = torch.searchsorted(first[order], error + 1e-9 - second, right=True) - 1
    inside = room >= 0
    assert (fewest[room[inside]] + of_second[inside]).min().item() >= operations - 1e-6


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    price=st.floats(0.01, 10),
    step=st.floats(0.2, 8),
    rest=st.floats(-1, 1),
    slack=st.sampled_from([0.0, 0.15, 0.4]),
)
def test_no_code_that_is_tried_is_below_the_bounds(
    seed: int, price: float, step: float, rest: float, slack: float
):
    """Rests and thetas are on grids, so the bound of digits may miss a little; that of one event per
    value may not, where its rest is that of the code.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(256, 3, generator=generator).exp() - 0.5
    site = Site(torch.tensor([1.0, 0.1, 3.0]), [sender(x.tolist())])
    zero = torch.zeros(3)
    tried = evaluate(site, Rounding(slack), step, step * site.scale(price), zero + rest)
    lagrangian = site.sensitivity * tried.distortion + price * tried.operations
    digits = allocate(site, price, CheapestDigits())
    assert (
        site.sensitivity * digits.distortion + price * digits.operations <= 1.03 * lagrangian
    ).all()
    event = evaluate(site, OneEvent(), 1.0, site.scale(price), zero + rest)
    assert (
        site.sensitivity * event.distortion + price * event.operations <= lagrangian + 1e-6
    ).all()


@pytest.mark.parametrize(
    "code",
    [Rounding(), Rounding(0.15), CheapestDigits(), OneEvent()],
    ids=["nearest", "slack", "cheapest", "one event"],
)
def test_a_higher_price_buys_fewer_operations(code: Code):
    x = torch.randn(512, 4, generator=torch.Generator().manual_seed(0)).relu()
    site = Site(torch.tensor([1.0, 0.3, 0.1, 2.0]), [sender(x.tolist())])
    pairs = [total(site, allocate(site, price, code)) for price in (0.01, 0.03, 0.1, 0.3, 1.0)]
    for (error, operations), (more, fewer) in itertools.pairwise(pairs):
        assert more > error and fewer < operations


def test_fine_thetas_lie_where_the_derivation_says():
    """A third of a digit per octave, theta = 1.70 scales, and a slack of ln 2 / 4 = 0.17."""
    x = torch.rand(1 << 14, 1, generator=torch.Generator().manual_seed(0)) * 1000
    site = Site(torch.ones(1), [sender(x.tolist())])

    def lagrangian(slack: float, step: float) -> float:
        one = evaluate(site, Rounding(slack), step, step * site.scale(1.0), torch.zeros(1))
        return one.distortion.item() + one.operations.item()

    fine, coarse = (
        evaluate(site, Rounding(), 1.0, torch.tensor([t]), torch.zeros(1)) for t in (0.05, 0.8)
    )
    assert (fine.operations - coarse.operations).item() == pytest.approx(4 / 3, abs=0.02)
    steps = [1.7 * 1.3**k for k in range(-2, 3)]
    assert min(steps, key=lambda step: lagrangian(0.0, step)) == 1.7
    slacks = [0.0, 0.09, 0.17, 0.25, 0.33]
    assert min(slacks, key=lambda slack: lagrangian(slack, 1.7)) in (0.17, 0.25)


def test_neighbours_predict_a_slope():
    """Along a row n is 5, 6, 7: differences of one digit, where 5 and 7 have two. A plane has no
    second difference at all. Beyond the border lies the value at rest.
    """
    x = torch.tensor([[5.0], [6.0], [7.0]])
    left = torch.tensor([[math.nan], [5.0], [6.0]])
    above = torch.tensor([[5.0], [5.0], [5.0]])
    far = torch.full_like(above, 9.0)
    one = torch.ones(1)
    rows = Sender(x, torch.ones(3, 1), torch.stack([left, far, far]))
    assert predicted(rows, Rounding(), 1.0, one, 0 * one).item() == pytest.approx((2 + 1 + 1) / 3)
    plane = Sender(x, torch.ones(3, 1), torch.stack([x - 1, x + 2, x + 1]))
    assert predicted(plane, Rounding(), 1.0, one, 0 * one).item() == 0


def test_max_pooling_behind_the_site_sends_events_of_its_own():
    own, pooled = sender([[1.0], [3.0]]), sender([[3.0]])
    site = Site(torch.ones(1), [own, pooled])
    one = evaluate(site, Rounding(), 1.0, torch.ones(1), torch.zeros(1))
    assert one.operations.item() == pytest.approx((1 + 2) / 2 + 2)
    assert one.distortion.item() == 0


def test_entropy_and_shannons_bound():
    generator = torch.Generator().manual_seed(0)
    n = torch.arange(4.0).repeat(1000)[:, None]
    assert entropy(n).item() == pytest.approx(2, abs=0.001)
    x = torch.randn(1 << 14, 1, generator=generator) * 3
    # The rate of a Gaussian, log2(sigma^2 / D) / 2.
    assert shannon_bound(x, torch.tensor([0.25])).item() == pytest.approx(
        math.log2(36) / 2, abs=0.03
    )
    assert shannon_bound(x, torch.tensor([100.0])).item() == 0
    # Uniform steps with an entropy code are 0.254 bits above it.
    site = Site(torch.ones(1), [sender(x.tolist())])
    fine = evaluate(site, Rounding(), 1.0, torch.tensor([0.3]), torch.zeros(1))
    of_n, least = bits(site, Rounding(), fine)
    assert of_n - least == pytest.approx(0.254, abs=0.04)
