"""Signed digits: complete values in one step, counted by digits, and silence afterwards."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.methods import neuron, send
from helpers.networks import Pooled, Residual, TinyLeaky, images, make, spiking
from torch import Tensor

from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.differentiable import CompleteNetwork, VideoNetwork
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.convert.thresholds import rescaled
from spiking_yolo.graph import max_pool
from spiking_yolo.integer.stream import Stream
from spiking_yolo.snn.counting import count_digits

DIGITS = get_recipe("signed-digits")
PLAIN = DIGITS.with_settings({"neuron.slack": 0})


def converted(cls: type) -> Converted:
    """With values at rest that are far from zero, and of both signs."""
    network = spiking(
        make(cls), images(4), DIGITS, {"calibration.steps": 8, "calibration.operations": 0.25}
    )
    generator = torch.Generator().manual_seed(0)

    def rest(theta: Tensor) -> Tensor:
        return torch.randint(-512, 513, theta.shape, generator=generator) / 256

    neurons = {
        n: {**own, "rest": rest(own["theta"])} if "theta" in own else own
        for n, own in network.neurons.items()
    }
    return replace(network, neurons=neurons)


def test_events_by_hand():
    """7.2 is 7 = 8 - 1, two digits at once; -7 undoes it."""
    layer = neuron(PLAIN)
    assert send(layer, [7.2, 0, -7.2, 0]) == [7, 0, -7, 0]
    assert [count.item() for count in layer.counts] == [14, 4, 2]


def test_rest_by_hand():
    """2.9 with a rest of -.75 is 3.65 above it: 4 are sent, and 3.25 handed on. Then 3 are taken
    back.
    """
    layer = neuron(PLAIN, rest=[-0.75])
    assert send(layer, [2.9, 0, -2.9]) == [3.25, 0, -3]
    assert [count.item() for count in layer.counts] == [7, 3, 2]


def test_slack_by_hand():
    """0 and other multiples of 4 reach .65 far, and 3 only .35."""
    values = [0.6, 0.7, 2.6, 2.7, 3.3, 3.4, 4.6, -0.6, -3.4, -2.6]
    sent = [send(neuron(DIGITS, slope=1), [value, 0]) for value in values]
    assert sent == [[n, 0] for n in (0, 1, 2, 3, 3, 4, 4, 0, -4, -2)]


@pytest.mark.parametrize("cls", [TinyLeaky, Residual, Pooled])
def test_a_network_is_silent_after_the_first_step_and_equals_its_function(cls: Any):
    """The simulator and CompleteNetwork, which is written without it, agree to the last event."""
    network, x = converted(cls), images(3, seed=5)
    run = network.network().run(x, 6, [1, 6])
    first, last = run.snapshots[1], run.snapshots[6]
    function = CompleteNetwork(network.graph, (8, 8), DIGITS.neuron.slack)
    outputs, spent = function(x, network.neurons)
    for got, settled, expected in zip(first.outputs, last.outputs, outputs, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
        assert torch.equal(got, settled)
    torch.testing.assert_close(first.operations.digits / run.macs, spent, rtol=1e-6, atol=1e-9)
    assert run.macs == function.macs and (first.operations.digits > 0).all()
    assert all(torch.equal(a, b) for a, b in zip(first.sent, last.sent, strict=True))
    assert (first.sent.messages <= first.sent.digits).all()
    assert (first.sent.digits < first.sent.spikes).all()


@pytest.mark.parametrize("cls", [TinyLeaky, Pooled])
def test_a_rest_stays_with_the_next_image(cls: Any):
    """Another image's output is its own, whatever was shown before, and so is a second run of the
    same network.
    """
    for observed in [False, True]:
        network, x = converted(cls), images(2, seed=5)
        net = network.simulator(observed=observed)
        function = CompleteNetwork(network.graph, (8, 8), DIGITS.neuron.slack)
        net.run(x.flip(0), 2)
        first = net.run(x, 1).snapshots[1]
        torch.testing.assert_close(
            first.outputs, tuple(function(x, network.neurons)[0]), rtol=1e-9, atol=1e-9
        )
        net.feed(x)
        assert not net.step() and torch.equal(net.snapshot().outputs[0], first.outputs[0])


@pytest.mark.parametrize("cls", [TinyLeaky, Residual])
def test_later_frames_of_a_video_equal_their_function(cls: Any):
    """The simulator and VideoNetwork agree in every frame, in which most changes are kept back."""
    network = converted(cls)
    neuron = replace(DIGITS.neuron, hysteresis=0.8)
    network = replace(network, recipe=replace(DIGITS, neuron=neuron))
    first, noise = images(2, seed=5), images(10, seed=6).reshape(5, 2, 3, 8, 8)
    frames = first + 0.3 * noise.cumsum(0)
    function = VideoNetwork(network.graph, (8, 8), neuron.slack, None, 0.8)
    stream = Stream(network.network())
    later = 0.0
    for k, frame in enumerate(frames):
        got = stream(frame)
        outputs, spent = function(frames[: k + 1].movedim(0, 1), network.neurons)
        snapshot = got.run.snapshots[1]
        torch.testing.assert_close(list(snapshot.outputs), outputs, rtol=1e-9, atol=1e-9)
        cost = snapshot.operations.digits / got.run.macs
        torch.testing.assert_close(cost, spent, rtol=1e-6, atol=1e-9)
        later += cost.sum().item() if k else 0.0
    assert later > 0 and not got.fresh


def test_what_pools_send_does_not_count_the_rest():
    """Of 4 x 4 neurons behind a pool: the digits of the pooled whole numbers, as without a rest."""
    network, x = converted(TinyLeaky), images(2, seed=5)
    settings = {"calibration.steps": 8, "calibration.operations": 0.25, "neuron.pool_first": False}
    recipe = DIGITS.with_settings(settings)
    net = replace(network, recipe=recipe).simulator(torch.float32)
    net.run(x.float(), 1)
    counts = net.counts()
    for pool, layer in (("pool1", "act1"), ("pool2", "act2")):
        own = net.layer(layer)
        n = own.out - network.neurons[layer]["rest"][:, None, None]
        pooled = max_pool(n, **net.graph[pool].attrs)
        for value, counted in ((n, counts[layer]), (pooled.round(), counts[pool])):
            assert torch.equal(count_digits(value).double().sum(1, keepdim=True), counted.digits)


def test_the_scale_needs_no_new_calibration():
    """It acts on what was trained; a coarser theta sends fewer digits."""
    network, x = converted(TinyLeaky), images(2)
    recipe = DIGITS.with_settings(
        {"calibration.steps": 8, "calibration.operations": 0.25, "threshold.scale": 2}
    )
    plain = network.neurons
    coarse = rescaled(network.graph, plain, recipe)
    assert torch.equal(coarse["act1"]["theta"], 2 * plain["act1"]["theta"])
    # The same value in other thetas.
    rests = [own["act3"]["rest"] * own["act3"]["theta"] for own in (coarse, plain)]
    half = coarse["act3"]["theta"] / 512 + 1e-6
    assert ((rests[0] - rests[1]).abs() <= half).all() and rests[0].any()
    runs = (
        replace(network, recipe=recipe, neurons=neurons).network().run(x, 1)
        for neurons in (coarse, plain)
    )
    few, many = (run.snapshots[1].operations.digits for run in runs)
    assert (few < many).all()
