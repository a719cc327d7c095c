"""Channel-Norm: a threshold per channel, and the imbalanced-threshold neuron with its slow negative
side.
"""

from helpers.methods import neuron, send

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.snn.neurons.integrate_and_fire import ImbalancedThreshold

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
