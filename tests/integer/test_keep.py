"""What a stream that checks itself makes of what it finds."""

from typing import Any

import pytest
import torch
from helpers.networks import TinyLeaky, images, make, spiking

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.integer import keep
from spiking_yolo.integer.keep import Keeper, check_keep
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.integer.stream import Stream

RECIPE = get_recipe("signed-digits")


def keeper(*found: tuple[float, float, float], **options: Any) -> Keeper:
    """One whose checks find this, one after the other; .115 of it may differ."""
    left = iter(found)
    return Keeper(0.98, lambda outputs, anew: next(left), 0.5, **options)


def checked(*found: tuple[float, float, float]) -> Keeper:
    one = keeper(*found)
    for _ in found:
        one.check((), ())
    return one


def test_the_dead_zone_follows_the_difference():
    """(0.02 / 1.6)^(1/2) = .1118 is allowed: 4 of 8 is 3.78 times as much, with two more that are
    as they should be; and so much less is not chosen at once.
    """
    assert checked((0, 0.1155 * 8, 8)).dead_zone == pytest.approx(0.5, abs=1e-3)
    assert checked((0, 0, 0)).dead_zone == 0.5
    excess = (1.3 / 0.1155 + 2) / 10
    assert checked((0, 1.3, 8)).dead_zone == pytest.approx(excess**-keep.GAIN - 0.5, abs=1e-3)
    assert checked((3, 4, 8)).dead_zone == pytest.approx(keep.DOWN - 0.5)
    assert checked(*[(3, 4, 8)] * 3).dead_zone == 0
    assert checked(*[(0, 0, 80)] * 9).dead_zone == keep.MOST - 0.5


def test_agreement_is_that_of_the_last_checks():
    """Of which each counts half of the one after it."""
    assert checked((0, 0, 0)).agreement == 1
    assert checked((2, 2, 8)).agreement == 0.75
    assert checked((2, 2, 8), (0, 0, 4)).agreement == pytest.approx(1 - 1 / 8)


def test_checks_are_rarer_while_enough_agrees():
    one = keeper(*[(0, 0.5, 8)] * 4, (3, 4, 8), (0, 0.5, 8), every=50)
    frames: list[int] = []
    for frame in range(1, 200):
        if one.due():
            one.check((), ())
            frames.append(frame)
    assert frames == [10, 30, 70, 120, 170, 180]
    one.restart()
    assert [one.due() for _ in range(keep.SOON)] == [False] * 9 + [True]


def test_the_filter_goes_where_it_is_the_cause():
    one = keeper((0, 0.5, 8), (0, 2, 8))
    one.check_filter((), ())
    assert one.filters
    one.check_filter((), ())
    assert not one.filters


def test_what_cannot_be_kept():
    check_keep(None, get_recipe("p-norm"))
    check_keep(98, RECIPE)
    for percent, recipe in ((100, RECIPE), (2, RECIPE), (98, get_recipe("p-norm"))):
        with pytest.raises(UserError, match=r"keep is in percent|anew"):
            check_keep(percent, recipe)


def test_a_checked_frame_costs_both_and_the_stream_goes_on_from_the_new_one():
    settings = {"neuron.hysteresis": 0.8, "calibration.steps": 2, "encoding.denoise": False}
    net = spiking(make(TinyLeaky), images(2), RECIPE.with_settings(settings), {}).network()
    assert isinstance(net, IntegerNetwork)
    stream = Stream(net, keeper=keeper((1, 1, 4), every=2))
    x, y = images(1), images(1) + 0.1 * (images(1, seed=3) - 0.5)
    first, again = stream(x), stream(x)
    assert first.agreement is None and again.agreement is None
    later = net.run(y, before=first.frame, dead_zone=0.5)
    anew = net.run(y)
    seen = stream(y)
    assert seen.fresh and not seen.cut and seen.agreement == 0.75
    mine, a, b = (run.snapshots[1] for run in (seen, later, anew))
    assert all(map(torch.equal, mine.outputs, b.outputs))
    assert mine.operations.digits == a.operations.digits + b.operations.digits
    assert mine.updates == a.updates + b.updates
    assert seen.analogue_macs == later.analogue_macs + anew.analogue_macs
    after = stream(y)
    assert after.agreement is None and after.snapshots[1].operations.digits == 0
