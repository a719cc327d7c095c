"""A video through one network: what changes is sent, and the state is what the last frames make of
it.
"""

from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.networks import TinyLeaky, engine, images, make, same, spiking
from torch import Tensor

from spiking_yolo import SpikingYOLO
from spiking_yolo.convert.load import Converted
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.data.video import open_video
from spiking_yolo.errors import UserError
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.integer.video import Stream, unlike
from spiking_yolo.observe import read_input
from spiking_yolo.spikes.readout import Run

ROOT = Path(__file__).parents[2]
DIGITS = get_recipe("signed-digits").with_settings({"neuron.dead_zone": 0, "calibration.steps": 2})


@cache
def converted(method: str, **changes: Any) -> Converted:
    recipe = DIGITS if method == "signed-digits" else get_recipe(method)
    return spiking(make(TinyLeaky), images(2), recipe, changes)


def network(method: str = "signed-digits", fast: bool = True, **changes: Any) -> Any:
    given = converted(method, **changes)
    return engine(given, fast) if given.recipe.complete else given.network()


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


def test_a_change_that_costs_more_than_a_first_frame_is_a_cut_seen_too_late(monkeypatch):
    monkeypatch.setattr("spiking_yolo.integer.video.unlike", lambda x, sent: False)
    stream, k = Stream(network(**{"neuron.slack": 0})), torch.arange(8)
    checks = ((k[:, None] + k) % 2).double().expand(1, 3, 8, 8)
    first = stream(checks).snapshots[1].operations.digits
    seen = stream(checks * 0)
    assert not seen.fresh and seen.cut and seen.snapshots[1].operations.digits > first


HELD = {"neuron.dead_zone": 0.8, "neuron.slack": 0}
SAVED = {"neuron.dead_zone": 0, "neuron.slack": 0.45}


def is_anew(net: IntegerNetwork, state: Any, run: Run, x: Tensor) -> bool:
    """Whether a frame and its state are those of a photograph, to the bit."""
    alone = net.start(len(x))
    anew = net.run(x, state=alone).snapshots[1].outputs
    pairs = [*zip(run.snapshots[1].outputs, anew, strict=True)]
    pairs += [(state.sent()[name], sent) for name, sent in alone.sent().items()]
    return all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    ("settings", "last"), [(HELD, {}), (HELD, {"lossless": True}), (SAVED, {"lossless": True})]
)
def test_what_was_held_back_is_sent(fast: bool, settings: Any, last: Any):
    """When the dead zone falls, or in a lossless frame: by all neurons, also those that receive
    nothing. What was rounded to save digits is rounded anew in a lossless frame.
    """
    net, x = network(fast=fast, **settings), images(1)
    y, state = x + 0.1 * (images(1, seed=3) - 0.5), net.start()
    net.run(x, state=state)
    held = net.run(y, state=state, dead_zone=settings["neuron.dead_zone"])
    assert not is_anew(net, state, held, y)
    assert is_anew(net, state, net.run(y, state=state, **last), y)


def test_many_frames_leave_no_trace():
    """Sums of whole numbers are exact: at the end they are those of the last frame alone."""
    noise = torch.rand(10, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    frames = [*(noise * 0.3 + images(1).float() * 0.7)]
    net = network(**{"neuron.slack": 0})
    stream = Stream(net)
    assert sum(stream(frames[k % 10]).fresh for k in range(300)) == 1
    assert is_anew(net, stream._state, stream(frames[9]), frames[9])


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("method", ["signed-digits", "few-spikes"])
def test_every_frame_of_a_lossless_stream_is_a_new_start(method: str, fast: bool):
    """And differences are counted, whatever the dead zone, the saving of digits and the filter."""
    settings = {"neuron.dead_zone": 0.8, "neuron.slack": 0.4} if method == DIGITS.name else {}
    net, x, before = network(method, fast, **settings), images(1).float(), {}
    stream = Stream(net, lossless=True)
    for k in range(12):
        y = x + 0.02 * k * (images(1, seed=k).float() - 0.5)
        if k % 3 == 2:
            y = patched(x)
        run = stream(y)
        spent, sent = run.snapshots[1], stream._state.sent()
        assert run.fresh == (not before) and is_anew(net, stream._state, run, y)
        for name in net.plan.senders:
            change = sent[name] - before.get(name, 0)
            counts = spent.sent_by_layer[name]
            assert counts.digits.item() == net.plan.digits(change.abs()).sum()
            assert counts.messages.item() == change.count_nonzero()
        assert stream(y).snapshots[1].sent.messages.item() == 0
        before = sent


def test_a_lossless_clip_through_the_shipped_network():
    detector = SpikingYOLO()
    net = detector.converted.network()
    stream = Stream(net, lossless=True)
    with open_video(str(ROOT / "data" / "samples" / "clips" / "person.mp4")) as video:
        frames = list(islice(video.frames(), 18, 21))
    spent: list[float] = []
    for k, frame in enumerate(frames):
        x = read_input(frame).prepared(detector.spec).x[None]
        run = stream(x)
        assert run.fresh == (k == 0) and is_anew(net, stream._state, run, x)
        spent.append(run.snapshots[1].operations.digits.item())
    assert 0 < max(spent[1:]) < spent[0]


def test_a_method_without_state_is_never_lossless():
    for method, settings in (("p-norm", {}), ("signed-digits", {"encoding.frames": "reset"})):
        net = network(method, **settings)
        with pytest.raises(UserError, match="leave lossless out"):
            Stream(net, lossless=True)
