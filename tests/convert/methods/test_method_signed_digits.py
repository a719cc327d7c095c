"""Signed digits: complete values in one step, counted by digits, silent afterwards; bounded digits
wait.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.methods import neuron, send
from helpers.networks import Pooled, Residual, TinyLeaky, images, make, spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.differentiable import CompleteNetwork, VideoNetwork
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.convert.thresholds import rescaled
from spiking_yolo.graph import forward, max_pool
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.counting import count_digits
from spiking_yolo.snn.neurons import SigmaDelta
from spiking_yolo.snn.stream import Stream

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
    """7.2 is 7 = 8 - 1, two digits at once. With one digit per step: 8, then -1; -7 undoes it the
    same way.
    """
    layer = neuron(PLAIN)
    assert send(layer, [7.2, 0, -7.2, 0]) == [7, 0, -7, 0]
    assert (
        layer.counts.spikes.item(),
        layer.counts.digits.item(),
        layer.counts.messages.item(),
    ) == (14, 4, 2)
    layer = neuron(PLAIN.with_settings({"neuron.digits": 1}))
    assert (
        send(layer, [7.2, 0, -7.2, 0, 0]) == [8, -1, -8, 1, 0] and layer.counts.digits.item() == 4
    )
    # 23 = 32 - 8 - 1.
    assert send(neuron(PLAIN.with_settings({"neuron.digits": 2})), [22.9, 0, 0]) == [24, -1, 0]


def test_events_in_rate_coding():
    """2.6 in every step, one digit per step: of 3 = 4 - 1 the digit 4 is sent, and what is too much
    is due later.
    """
    settings = {"kind": "sigma-delta", "events": "digits", "digits": 1, "gamma": 16, "initial": 0.5}
    layer = neuron(Recipe("tested").with_settings({f"neuron.{k}": v for k, v in settings.items()}))
    assert send(layer, [2.6] * 5) == [4, 1, 4, 1, 4]  # due: 2.6, 1.2, 2.8, 1.4, 3


def test_rest_by_hand():
    """2.9 with a rest of -.75 is 3.65 above it: 4 are sent, and 3.25 handed on. Then 3 are taken
    back.

    With one digit a step, -1 is 3 above -4: 4 are sent, which leave nothing to hand on, and yet -1
    is still due.
    """
    layer = neuron(PLAIN, rest=[-0.75])
    assert send(layer, [2.9, 0, -2.9]) == [3.25, 0, -3]
    assert (
        layer.counts.spikes.item(),
        layer.counts.digits.item(),
        layer.counts.messages.item(),
    ) == (7, 3, 2)
    assert isinstance(layer, SigmaDelta) and layer.residual().item() == -0.25
    layer = neuron(PLAIN.with_settings({"neuron.digits": 1}), slope=1, rest=[-4.0])
    assert send(layer, [-1]) == [0] and not layer.settled and send(layer, [0]) == [-1]


def test_slack_by_hand():
    """0 and other multiples of 4 reach .65 far, and 3 only .35."""
    for value, sent in {
        0.6: 0,
        0.7: 1,
        2.6: 2,
        2.7: 3,
        3.3: 3,
        3.4: 4,
        4.6: 4,
        -0.6: 0,
        -3.4: -4,
        -2.6: -2,
    }.items():
        assert send(neuron(DIGITS, slope=1), [value, 0]) == [sent, 0], value


@settings(deadline=None, max_examples=50)
@given(st.floats(-3000, 3000), st.integers(1, 4))
def test_bounded_digits_add_up_to_the_rounded_value(value: float, k: int):
    sent = send(neuron(PLAIN.with_settings({"neuron.digits": k}), slope=1), [value, *[0] * 9])
    assert sum(sent) == send(neuron(PLAIN, slope=1), [value])[0] and sent[-1] == 0


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
    assert (first.sent.messages <= first.sent.digits).all() and (
        first.sent.digits < first.sent.spikes
    ).all()


@pytest.mark.parametrize("cls", [TinyLeaky, Residual, Pooled])
@pytest.mark.parametrize("observed", [False, True])
def test_a_rest_stays_with_the_next_image(cls: Any, observed: bool):
    """Another image's output is its own, whatever was shown before, and so is a second run of the
    same network.
    """
    network, x = converted(cls), images(2, seed=5)
    net = network.network(observed=observed)
    function = CompleteNetwork(network.graph, (8, 8), DIGITS.neuron.slack)
    net.run(x.flip(0), 2)
    first = net.run(x, 1).snapshots[1]
    torch.testing.assert_close(
        first.outputs, tuple(function(x, network.neurons)[0]), rtol=1e-9, atol=1e-9
    )
    net.feed(x)
    assert not net.step() and torch.equal(net.snapshot().outputs[0], first.outputs[0])


@pytest.mark.parametrize("cls", [TinyLeaky, Residual, Pooled])
@pytest.mark.parametrize("pool_first", [True, False])
def test_later_frames_of_a_video_equal_their_function(cls: Any, pool_first: bool):
    """The simulator and VideoNetwork agree in every frame, in which most changes are kept back."""
    network = converted(cls)
    neuron = replace(DIGITS.neuron, hysteresis=0.8, pool_first=pool_first)
    network = replace(network, recipe=replace(DIGITS, neuron=neuron))
    first, noise = images(2, seed=5), images(10, seed=6).reshape(5, 2, 3, 8, 8)
    frames = first + 0.3 * noise.cumsum(0)
    function = VideoNetwork(network.graph, (8, 8), neuron.slack, pool_first, None, 0.8)
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


def test_a_learned_bias_shrinks_with_the_spikes_by_hand():
    """2.2 and a bias of .4, then of .2 and .1: 2.6, 2.4 and 2.3 become 3, 2.5 and 2.25. The next
    image has it whole.
    """
    layer = neuron(PLAIN, bias=[0.4])
    steps = [(2.2, 1.0), (None, 0.5), (None, 0.25), (None, 0.25), (0.3, 1.0)]
    sent = []
    for z, weight in steps:
        current = None if z is None else torch.full((1, 1, 1, 1), z, dtype=torch.float64)
        sent.append((layer(current, weight).item(), round(layer.potential.item(), 9)))
    assert sent == [(3, 2.6), (-0.5, 2.4), (-0.25, 2.3), (0, 2.3), (1, 2.9)]


@pytest.mark.parametrize("cls", [TinyLeaky, Residual, Pooled])
@pytest.mark.parametrize("pool_first", [True, False])
def test_fine_spikes_give_the_ann_whatever_was_learned(cls: Any, pool_first: bool):
    network, x = converted(cls), images(2, seed=5)
    fine = {"encoding.refine": 1, "encoding.refine_by": 0.01, "neuron.pool_first": pool_first}
    run = replace(network, recipe=network.recipe.with_settings(fine)).network().run(x, 8, [1, 8])
    expected = forward(network.graph, x)
    first, last = (
        torch.cat([(a - b).flatten() for a, b in zip(s.outputs, expected, strict=True)])
        for s in (run.snapshots[1], run.snapshots[8])
    )
    assert 0 < last.abs().max() < 1e-3 * first.abs().max()


def test_what_pools_send_does_not_count_the_rest():
    """Of 4 x 4 neurons behind a pool: the digits of the pooled whole numbers, as without a rest."""
    network, x = converted(TinyLeaky), images(2, seed=5)
    settings = {"calibration.steps": 8, "calibration.operations": 0.25, "neuron.pool_first": False}
    recipe = DIGITS.with_settings(settings)
    net = replace(network, recipe=recipe).network(torch.float32)
    net.run(x.float(), 1)
    counts = net.counts()
    for pool, layer in (("pool1", "act1"), ("pool2", "act2")):
        own = net.layer(layer)
        n = own.out - network.neurons[layer]["rest"][:, None, None]
        pooled = max_pool(n, **net.graph[pool].attrs)
        for value, counted in ((n, counts[layer]), (pooled.round(), counts[pool])):
            assert torch.equal(count_digits(value).double().sum(1, keepdim=True), counted.digits)


def test_scale_and_factors_need_no_new_calibration():
    """They act on what was trained; a coarser theta sends fewer digits."""
    network, x = converted(TinyLeaky), images(2)
    recipe = DIGITS.with_settings(
        {
            "calibration.steps": 8,
            "calibration.operations": 0.25,
            "threshold.scale": 2,
            "threshold.layers": "act3:3",
        }
    )
    plain = network.neurons
    coarse = rescaled(network.graph, plain, recipe)
    assert torch.equal(coarse["act1"]["theta"], 2 * plain["act1"]["theta"])
    assert torch.equal(coarse["act3"]["theta"], 6 * plain["act3"]["theta"])
    # The same value in other thetas.
    rests = [own["act3"]["rest"] * own["act3"]["theta"] for own in (coarse, plain)]
    assert ((rests[0] - rests[1]).abs() <= coarse["act3"]["theta"] / 512).all() and rests[0].any()
    few, many = (
        Converted(network.graph, network.spec, recipe, neurons, {})
        .network()
        .run(x, 1)
        .snapshots[1]
        .operations.digits
        for neurons in (coarse, plain)
    )
    assert (few < many).all()
