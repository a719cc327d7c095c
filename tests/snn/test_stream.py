"""A video through one network: what changes is sent, and the state is what the last frames make of
it.
"""

import re
from typing import Any

import pytest
import torch
from helpers.methods import SIGMA_DELTA, neuron, recipe_of, send
from helpers.networks import TinyLeaky, images, make, same, spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import conv2d

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.integer.stream import REFRESH, Stream, unlike
from spiking_yolo.snn.coding import pixel_change
from spiking_yolo.snn.network import SpikingNetwork

DIGITS = get_recipe("signed-digits").with_settings(
    {"neuron.hysteresis": 0, "encoding.tau": 0, "calibration.steps": 2}
)
SETTLING = ("signed-digits", "few-spikes", "sfn", "sigma-delta", "css")


def network(method: str = "signed-digits", **changes: Any) -> SpikingNetwork:
    recipe = DIGITS if method == "signed-digits" else recipe_of(method)
    return spiking(make(TinyLeaky), images(2), recipe, changes).network()


def operations(stream: Stream, x: Tensor) -> float:
    return stream(x).run.snapshots[stream.T].operations.digits.item()


@pytest.mark.parametrize("method", SETTLING)
def test_a_still_camera_costs_nothing(method: str):
    """Frame by frame as one long run, once it has settled; the first frame costs what a photograph
    costs.
    """
    x, T = images(1), 200
    stream, photograph = Stream(network(method), T), network(method).run(x, T).snapshots[T]
    first = stream(x)
    assert first.fresh and not first.cut
    assert torch.equal(first.run.snapshots[T].operations.digits, photograph.operations.digits)
    for _ in range(3):
        later = stream(x)
        assert not later.fresh and not later.cut and later.run.analogue_macs == 0
        snapshot = later.run.snapshots[T]
        assert snapshot.operations.spikes.item() == snapshot.sent.messages.item() == 0
        assert all(map(torch.equal, snapshot.outputs, photograph.outputs))


def test_costs_of_frames_add_up():
    net, x = network(), images(1)
    y = x.clone()
    y[:, :, 2:5, 2:5] += 0.3
    stream = Stream(net)
    parts = [stream(frame).run.snapshots[1] for frame in (x, y, x)]
    whole = net.snapshot()
    assert sum(p.operations.digits.item() for p in parts) == whole.operations.digits.item()
    assert sum(p.sent.messages.item() for p in parts) == whole.sent.messages.item()
    for name, total in whole.spikes.items():
        assert sum(p.spikes[name].item() for p in parts) == total.item()
    assert 0 < parts[1].operations.digits.item() < parts[0].operations.digits.item()


def test_only_the_pixels_that_changed_are_multiplied():
    """One pixel in a corner reaches 2 x 2 places of 4 channels, with 3 colours: 48 of the first
    layer's MACs.
    """
    x = images(1)
    y = x.clone()
    y[:, :, 0, 0] += 0.5
    stream = Stream(network())
    full = stream(x).run.analogue_macs
    assert full == 3 * 4 * (3 * 8 - 2) ** 2 and stream(y).run.analogue_macs == 48


def test_two_states_do_not_mix():
    a, b = images(2).split(1)
    pairs = ((a, b), (b, a))
    both = [Stream(network()) for _ in range(2)]
    mixed = [[s(x).run.snapshots[1] for s, x in zip(both, pair, strict=True)] for pair in pairs]
    for k, frames in enumerate(pairs):
        alone = Stream(network())
        for t, x in enumerate(frames):
            assert same(alone(x).run.snapshots[1], mixed[t][k])


@pytest.mark.parametrize("method", ["signed-digits", "p-norm"])
def test_reset_is_the_old_path(method: str):
    """As every method in rate coding, and any with encoding.frames=reset."""
    settings = {"encoding.frames": "reset"} if method == "signed-digits" else {}
    stream, alone = Stream(network(method, **settings), 4), network(method, **settings)
    for x in (*images(2).split(1), images(1)):
        given, run = stream(x), alone.run(x, 4)
        assert given.fresh and not given.cut and given.run.analogue_macs == run.analogue_macs
        assert same(given.run.snapshots[4], run.snapshots[4])


def test_a_new_start_every_so_often_and_for_frames_of_another_size():
    x, stream = images(1), Stream(network(), refresh=3)
    assert [stream(x).fresh for _ in range(7)] == [True, False, False, True, False, False, True]
    stream = Stream(network())
    stream(images(1))
    bigger = stream(images(1, size=16))
    assert bigger.fresh and bigger.cut and not stream(images(1, size=16)).fresh


def test_a_cut_costs_one_first_frame():
    x, y = torch.zeros(1, 3, 8, 8).double(), images(1, seed=3)
    x[:, :, ::2] = 1
    stream = Stream(network())
    stream(x)
    cut, after = stream(y), stream(y)
    alone = network().run(y, 1).snapshots[1]
    assert cut.cut and cut.fresh and not after.cut
    assert same(cut.run.snapshots[1], alone)
    assert unlike(y, x) and not unlike(y, y * 0.9)


def test_a_change_that_costs_more_than_a_first_frame_is_a_cut_seen_too_late(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("spiking_yolo.integer.stream.unlike", lambda x, sent: False)
    stream, dark, bright = Stream(network()), torch.zeros(1, 3, 8, 8).double(), images(1) * 4
    first = stream(dark).run.snapshots[1].operations.digits
    seen = stream(bright)
    assert not seen.fresh and seen.cut == bool(seen.run.snapshots[1].operations.digits > first)
    assert seen.cut


def test_hysteresis_by_hand():
    """theta = 1, h = 1/4: fires at 3/4 and above, and then sends the nearest whole number; none in
    the first frame.
    """
    settings = {"neuron.hysteresis": 0.25, "threshold.scale": 1.0}
    layer = neuron(SIGMA_DELTA.with_settings({**settings, "neuron.gamma": 9}))
    assert send(layer, [0.6]) == [1]  # the first frame rounds
    layer.hysteresis = 1.0
    assert send(layer, [0.7, 0.1, 0.34, 0.02]) == [0, 0, 0, 1]  # due .3, .4, .74, .76
    assert send(layer, [-0.5, -0.02]) == [0, -1]  # due -.74, -.76


BUSY = {"neuron.hysteresis": 0.8, "neuron.busy": 0.5, "neuron.slack": 0}


def test_the_hysteresis_follows_the_frame_before():
    """In quarters, and whole from half of a first frame's operations on; whole after a cut."""
    stream = Stream(network(**BUSY))
    factors: list[float] = []
    shares: list[float] = []
    x = images(1)
    for k in range(6):
        frame = x if k < 2 else x + 0.08 * k * (images(1, seed=k) - 0.5)
        run = stream(frame)
        (layer,) = {layer.hysteresis for _, layer in stream.network.layers()}
        factors.append(layer)
        shares.append(run.run.snapshots[1].operations.digits.item())
    first = shares[0]
    assert factors[:2] == [0, 1]
    for before, factor in zip(shares[1:], factors[2:], strict=False):
        assert factor == min(1, round(4 * before / (0.5 * first)) / 4)
    assert len(set(factors)) > 3, "the frames do not differ"
    assert stream(1 - x).cut
    stream(1 - x)
    assert {layer.hysteresis for _, layer in stream.network.layers()} == {1}


def test_what_was_held_back_is_sent_when_the_hysteresis_falls():
    """By all neurons, also those that receive nothing: what each has sent is then the nearest to
    what is due.
    """
    net, x = network(**BUSY), images(1)
    net.run(x, 1)
    net.run(x + 0.1 * (images(1, seed=3) - 0.5), 1, keep=True, hysteresis=1.0)
    assert residuals(net) > 0.6
    net.run(net.image, 1, keep=True, hysteresis=0.0)
    assert residuals(net) <= 0.5 + 1e-6


def residuals(net: SpikingNetwork) -> float:
    """The largest part of a threshold that is still to be sent."""
    largest = 0.0
    for _, layer in net.layers():
        due = layer.phi(layer.potential) / layer.threshold - layer.state.sent
        due = due + layer.initial.reshape(1, -1, 1, 1) - 0.5
        largest = max(largest, due.abs().max().item())
    return largest


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-40, 40), min_size=2, max_size=8), st.sampled_from([0, 0.25, 0.5, 1.0]))
def test_what_is_left_unsent_is_bounded_by_the_hysteresis(values: list[int], h: float):
    """|S - sent| < 1/2 + h thetas after each frame, and 1/2 at most where it fired."""
    layer = neuron(SIGMA_DELTA.with_settings({"neuron.hysteresis": h, "neuron.gamma": 65536}))
    total = sent = 0.0
    for k, value in enumerate(values):
        layer.hysteresis = float(k > 0)
        z = value / 8 - total if k else value / 8
        (out,) = send(layer, [z])
        total, sent = total + z, sent + out
        due = max(total, 0) - sent  # ReLU
        assert abs(due) <= 0.5 if out or k == 0 else abs(due) < 0.5 + h or abs(due) == 0.5


def test_tau_by_hand():
    sent = torch.tensor([[0.5, 0.5], [0.5, 0.5]]).repeat(1, 2, 1, 1)  # two channels of 2 x 2
    x = sent.clone()
    # One channel is enough for a pixel.
    x[0, 0, 0, 0] += 0.25
    x[0, 1, 0, 1] += 0.125  # no more than tau
    x[0, :, 1, 1] -= torch.tensor([0.125, 0.375])
    changed, image = pixel_change(x, sent, 0.125)
    assert changed.where.tolist() == [0, 3]
    assert changed.values.tolist() == [[0.25, 0.0], [-0.125, -0.375]]
    expected = sent.clone()
    expected[..., 0, 0], expected[..., 1, 1] = x[..., 0, 0], x[..., 1, 1]
    assert torch.equal(image, expected)
    again, image = pixel_change(x, image, 0.125)
    assert not len(again.where) and torch.equal(image, expected)
    everything, image = pixel_change(x, image, 0.0)
    assert everything.where.tolist() == [1] and torch.equal(image, x)


@pytest.mark.parametrize("refresh", [0, REFRESH])
def test_what_rounding_makes_of_two_thousand_frames(refresh: int):
    """In float32, of a clip that is repeated, so that errors add up: 2^-24 of the largest sum per
    frame at most.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(10, 1, 3, 8, 8, generator=generator)
    frames = [*(noise * 0.3 + images(1).float() * 0.7)]
    converted = spiking(make(TinyLeaky), images(2), DIGITS)
    stream = Stream(converted.network(), refresh=refresh)
    fresh = sum(stream(frames[k % 10]).fresh for k in range(2000))
    assert fresh == (2 if refresh else 1) and torch.equal(stream.network.image, frames[9])
    weight, bias = (converted.graph.tensors[f"conv1.{name}"] for name in ("weight", "bias"))
    bias = bias + converted.neurons["act1"]["bias"]
    expected = conv2d(frames[9].double(), weight, bias, padding=1)
    error = (stream.network.layer("act1").potential.double() - expected).abs().max()
    assert error / expected.abs().max() < (refresh or 2000) * 2**-24


def test_what_cannot_be():
    for recipe, name, value, needed in (
        (SIGMA_DELTA, "neuron.busy", 0.1, "neuron.hysteresis"),
        (get_recipe("p-norm"), "neuron.hysteresis", 0.5, "neuron.kind=sigma-delta"),
        (get_recipe("dcgs"), "neuron.hysteresis", 0.5, "neuron.kind=sigma-delta"),
        (get_recipe("p-norm"), "encoding.tau", 0.1, "neurons that send changes"),
        (get_recipe("msat"), "encoding.denoise", True, "neurons that send changes"),
    ):
        with pytest.raises(UserError, match=re.escape(f"{name} needs {needed}")):
            recipe.with_settings({name: value})
