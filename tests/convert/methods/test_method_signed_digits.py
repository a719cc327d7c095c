"""Signed digits: complete values in one step, counted by digits, and silence afterwards."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.methods import fired, relative_error
from helpers.networks import Pooled, Residual, TinyLeaky, images, make, spiking
from torch import Tensor

from spiking_yolo.convert.learn.differentiable import VideoNetwork
from spiking_yolo.convert.load import Converted
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.integer.video import Stream

DIGITS = get_recipe("signed-digits")
PLAIN = DIGITS.with_settings({"neuron.slack": 0})


def converted(cls: type) -> Converted:
    """With values at rest that are far from zero, and of both signs."""
    settings = {"calibration.steps": 8, "calibration.operations": 0.25}
    network = spiking(make(cls), images(4), DIGITS, settings)
    generator = torch.Generator().manual_seed(0)

    def rest(theta: Tensor) -> Tensor:
        return torch.randint(-512, 513, theta.shape, generator=generator) / 256

    neurons = {}
    for n, own in network.neurons.items():
        neurons[n] = {**own, "rest": rest(own["theta"])} if "theta" in own else own
    return replace(network, neurons=neurons)


def test_events_by_hand():
    """7.2 is 7, and 0 undoes it. 2.9 with a rest of -.75 is 3.65 above it: 4."""
    assert fired(PLAIN, 7.2) == fired(PLAIN, 7.2, before=7) == fired(PLAIN, 7.2, before=-5) == 7
    assert fired(PLAIN, 0, before=7) == 0
    assert fired(PLAIN, 2.9, rest=-0.75) == 4 and fired(PLAIN, 0, before=4, rest=-0.75) == 1


def test_slack_by_hand():
    """0 and other multiples of 4 reach .65 far, and 3 only .35."""
    values = [0.6, 0.7, 2.6, 2.7, 3.3, 3.4, 4.6, -0.6, -3.4, -2.6]
    sent = [fired(DIGITS, value, slope=1) for value in values]
    assert sent == [0, 1, 2, 3, 3, 4, 4, 0, -4, -2]
    # So is what stays within reach of what was sent.
    assert [fired(DIGITS, 4.6, before=k) for k in (4, 0)] == [4, 4]


@pytest.mark.parametrize("cls", [TinyLeaky, Residual, Pooled])
def test_what_is_trained_is_what_runs(cls: Any):
    """Photographs, and later frames in which most changes are kept back, but for the rounding of
    sums at the border and of float32, and a near tie.
    """
    network = converted(cls)
    network = replace(network, recipe=DIGITS.with_settings({"neuron.dead_zone": 0.8}))
    noise = images(10, seed=6).reshape(5, 2, 3, 8, 8).cumsum(0)
    frames = ((images(2, seed=5) + 0.3 * noise).clamp(0, 1) * 255).round() / 255
    stream = Stream(network.network())
    function = VideoNetwork(network.graph, (8, 8), replace(DIGITS.neuron, dead_zone=0.8))
    later = 0.0
    for k, frame in enumerate(frames):
        run = stream(frame)
        outputs, spent = function(frames[: k + 1].movedim(0, 1), network.neurons)
        snapshot = run.snapshots[1]
        cost = snapshot.operations.digits / run.macs
        assert relative_error(snapshot.outputs, tuple(outputs)) < 1e-2
        torch.testing.assert_close(cost, spent, rtol=1e-2, atol=1e-3)
        later += cost.sum().item() * (k > 0)
    assert later > 0 and run.macs == function.macs
    assert (snapshot.sent.messages <= snapshot.sent.digits).all()
    assert (snapshot.sent.digits < snapshot.sent.spikes).all()
