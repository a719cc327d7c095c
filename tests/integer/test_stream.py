"""A video through one network: what changes is sent, and the state is what the last frames make of
it.
"""

from typing import Any

import pytest
import torch
from helpers.networks import TinyLeaky, images, make, same, spiking
from torch import Tensor

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.integer.stream import (
    DOWN,
    GAIN,
    MOST,
    SOON,
    Keeper,
    Network,
    Stream,
    check_keep,
    unlike,
)

DIGITS = get_recipe("signed-digits").with_settings({"neuron.hysteresis": 0, "calibration.steps": 2})


def network(method: str = "signed-digits", **changes: Any) -> Network:
    recipe = DIGITS if method == "signed-digits" else get_recipe(method)
    return spiking(make(TinyLeaky), images(2), recipe, changes).network()


def operations(stream: Stream, x: Tensor) -> float:
    return stream(x).snapshots[stream.T].operations.digits.item()


def patched(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :, 2:5, 2:5] += 0.3
    return y


@pytest.mark.parametrize("method", ["signed-digits", "few-spikes", "sfn"])
def test_a_still_camera_costs_nothing(method: str):
    """The first frame costs what a photograph costs."""
    x, T = images(1), 8
    stream, photograph = Stream(network(method), T), network(method).run(x, T).snapshots[T]
    first = stream(x)
    assert first.fresh and not first.cut and same(first.snapshots[T], photograph)
    for _ in range(3):
        later = stream(x)
        assert not later.fresh and not later.cut and later.analogue_macs == 0
        snapshot = later.snapshots[T]
        assert snapshot.operations.spikes.item() == snapshot.sent.messages.item() == 0
        assert all(map(torch.equal, snapshot.outputs, photograph.outputs))


def test_only_the_pixels_that_changed_are_multiplied():
    """One pixel in a corner reaches 2 x 2 places of 4 channels, with 3 colours: 48 of the first
    layer's MACs.
    """
    x = images(1)
    y = x.clone()
    y[:, :, 0, 0] += 0.5 - (x[:, :, 0, 0] > 0.5).double()
    stream = Stream(network())
    full = stream(x).analogue_macs
    assert full == 3 * 4 * (3 * 8 - 2) ** 2 and stream(y).analogue_macs == 48
    few = stream(x)
    assert few.analogue_macs == 48 and few.macs > full


def test_two_states_do_not_mix():
    """Of streams that share a network."""
    (a, b), net = images(2).split(1), network()
    pairs = ((a, b), (patched(a), a), (a, patched(b)))
    both = [Stream(net) for _ in range(2)]
    mixed = [[s(x).snapshots[1] for s, x in zip(both, pair, strict=True)] for pair in pairs]
    for k, frames in enumerate(zip(*pairs, strict=True)):
        alone = Stream(network())
        for t, x in enumerate(frames):
            assert same(alone(x).snapshots[1], mixed[t][k])


@pytest.mark.parametrize("method", ["signed-digits", "p-norm", "dcgs", "css"])
def test_each_frame_is_a_photograph(method: str):
    """Where nothing is kept: in rate coding, where values take many steps, and with
    encoding.frames=reset.
    """
    settings = {"encoding.frames": "reset"} if method == "signed-digits" else {}
    stream, alone = Stream(network(method, **settings), 4), network(method, **settings)
    for x in (*images(2).split(1), images(1)):
        given, run = stream(x), alone.run(x, 4)
        assert given.fresh and not given.cut and given.analogue_macs == run.analogue_macs
        assert same(given.snapshots[4], run.snapshots[4])


def test_a_frame_of_another_size_and_a_reset_start_anew():
    stream = Stream(network())
    assert [stream(images(1)).fresh for _ in range(3)] == [True, False, False]
    two = stream(images(2))
    assert two.fresh and two.cut and not stream(images(2)).fresh
    stream.reset()
    again = stream(images(2))
    assert again.fresh and not again.cut


def test_a_cut_costs_one_first_frame():
    x, y = torch.zeros(1, 3, 8, 8).double(), images(1, seed=3)
    x[:, :, ::2] = 1
    stream = Stream(network())
    stream(x)
    cut, after = stream(y), stream(y)
    alone = network().run(y, 1).snapshots[1]
    assert cut.cut and cut.fresh and not after.cut
    assert same(cut.snapshots[1], alone)
    assert unlike(y, x) and not unlike(y, y * 0.9)


def test_a_change_that_costs_more_than_a_first_frame_is_a_cut_seen_too_late(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("spiking_yolo.integer.stream.unlike", lambda x, sent: False)
    stream, k = Stream(network(**{"neuron.slack": 0})), torch.arange(8)
    checks = ((k[:, None] + k) % 2).double().expand(1, 3, 8, 8)
    first = stream(checks).snapshots[1].operations.digits
    seen = stream(checks * 0)
    assert not seen.fresh and seen.cut and seen.snapshots[1].operations.digits > first


BUSY = {"neuron.hysteresis": 0.8, "neuron.busy": 0.5, "neuron.slack": 0}


def test_the_dead_zone_follows_the_frame_before(monkeypatch: pytest.MonkeyPatch):
    """In quarters, and whole from half of a first frame's operations on; none in a first frame, and
    whole after it.
    """
    net, zones = network(**BUSY), list[float]()
    follow = net.run

    def recorded(*args: Any, dead_zone: float = 0.0, **options: Any) -> Any:
        zones.append(dead_zone)
        return follow(*args, dead_zone=dead_zone, **options)

    monkeypatch.setattr(net, "run", recorded)
    stream, x = Stream(net), images(1)
    shares = [operations(stream, x)]
    for k in range(1, 6):
        shares.append(operations(stream, x + 0.08 * (k - 1) * (images(1, seed=k) - 0.5)))
    assert zones[:2] == [0, 0.8]
    for before, zone in zip(shares[1:], zones[2:], strict=False):
        assert zone == 0.8 * min(1, round(4 * before / (0.5 * shares[0])) / 4)
    assert len(set(zones)) > 3, "the frames do not differ"
    assert stream(1 - x).cut
    stream(1 - x)
    assert zones[-2:] == [0, 0.8]


def test_what_was_held_back_is_sent_when_the_dead_zone_falls():
    """By all neurons, also those that receive nothing: what each has sent is then that of the
    photograph.
    """
    net, x = network(**BUSY), images(1)
    y = x + 0.1 * (images(1, seed=3) - 0.5)
    first = net.run(x).frame
    held = net.run(y, before=first, dead_zone=0.8).frame
    sent = net.run(y, before=held).frame
    alone = net(y)
    assert not torch.equal(held.sent["act1"], alone.sent["act1"])
    assert all(torch.equal(sent.sent[name], k) for name, k in alone.sent.items())
    assert all(map(torch.equal, sent.outputs, alone.outputs))


def test_many_frames_leave_no_trace():
    """Sums of whole numbers are exact: at the end they are those of the last frame alone."""
    noise = torch.rand(10, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    frames = [*(noise * 0.3 + images(1).float() * 0.7)]
    net = network(**{"neuron.slack": 0})
    stream = Stream(net)
    assert sum(stream(frames[k % 10]).fresh for k in range(300)) == 1
    last = stream(frames[9]).snapshots[1].outputs
    assert all(map(torch.equal, last, net(frames[9]).outputs))


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
    assert checked((0, 1.3, 8)).dead_zone == pytest.approx(excess**-GAIN - 0.5, abs=1e-3)
    assert checked((3, 4, 8)).dead_zone == pytest.approx(DOWN - 0.5)
    assert checked(*[(3, 4, 8)] * 3).dead_zone == 0
    assert checked(*[(0, 0, 80)] * 9).dead_zone == MOST - 0.5


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
    assert frames == [10, 30, 70, 120, 170, 180] and one.dead_zone > 0.2
    one.restart()
    assert one.dead_zone == 0.2
    assert [one.due() for _ in range(SOON)] == [False] * 9 + [True]


def test_the_filter_goes_where_it_is_the_cause():
    one = keeper((0, 0.5, 8), (0, 2, 8))
    one.check_filter((), ())
    assert one.filters
    one.check_filter((), ())
    assert not one.filters


def test_what_cannot_be_kept():
    check_keep(None, get_recipe("p-norm"))
    check_keep(98, DIGITS)
    for percent, recipe in ((100, DIGITS), (2, DIGITS), (98, get_recipe("p-norm"))):
        with pytest.raises(UserError, match=r"keep is in percent|anew"):
            check_keep(percent, recipe)


def test_a_checked_frame_costs_both_and_the_stream_goes_on_from_the_new_one():
    settings = {"neuron.hysteresis": 0.8, "calibration.steps": 2, "encoding.denoise": False}
    recipe = get_recipe("signed-digits").with_settings(settings)
    net = spiking(make(TinyLeaky), images(2), recipe, {}).network()
    assert isinstance(net, IntegerNetwork)
    stream = Stream(net, keeper=Keeper(0.98, lambda outputs, anew: (1, 1, 4), every=2))
    x, y = images(1), images(1) + 0.1 * (images(1, seed=3) - 0.5)
    first, again = stream(x), stream(x)
    assert first.agreement is None and again.agreement is None
    later = net.run(y, before=first.frame, dead_zone=0.2)
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
