"""Channel-Norm: a threshold per channel, and the imbalanced-threshold neuron with its slow negative
side.
"""

from fractions import Fraction

import torch
from helpers.methods import Chain, method, neuron, record, send
from helpers.networks import images
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.snn.neurons import ImbalancedThreshold

CHANNEL_NORM = get_recipe("channel-norm")


def test_thresholds_by_hand():
    """alpha = 1/8: +1 at U >= 1, -1 only at U <= -8, which takes 8 off: z = -3 first fires at t =
    3.
    """
    layer = neuron(CHANNEL_NORM, slope=1 / 8)
    assert isinstance(layer, ImbalancedThreshold)
    assert send(layer, [-3] * 8) == [0, 0, -1, 0, 0, -1, 0, -1]
    assert layer.potential.item() == 0 and layer.count.item() == 3
    assert send(neuron(CHANNEL_NORM, slope=1 / 8), [0.5, 0.5, -7.5, -0.5]) == [0, 1, 0, -1]


@settings(deadline=None, max_examples=50)
@given(st.integers(-512, 64).map(lambda n: Fraction(n, 64)))
def test_a_constant_input_is_sent_as_its_leaky_relu(z: Fraction):
    """Within one threshold, at any time, for z up to theta and down to -theta / alpha; alpha
    = 1/8.
    """
    sent = send(neuron(CHANNEL_NORM, slope=1 / 8), [z] * 30)
    for t in range(1, 31):
        assert abs(sum(map(int, sent[:t])) - t * (z if z > 0 else z / 8)) < 1


def test_what_was_sent_wrongly_is_not_taken_back():
    """16 then -16 sum to 0, but a positive spike costs 1 and a negative one 8: 16 - 2 = 14 remain
    sent for good.
    """
    assert sum(send(neuron(CHANNEL_NORM, slope=1 / 8), [1] * 16 + [-1] * 16 + [0] * 16)) == 14


def test_on_relu_it_is_integrate_and_fire():
    """The same spikes as p-norm with thresholds per channel."""
    _, ours = method(Chain, "channel-norm")
    _, other = method(Chain, "p-norm", {"threshold.scope": "channel"})
    a, b = (record(c.simulator(observed=True), images(2), 20) for c in (ours, other))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].any() for k in a)
