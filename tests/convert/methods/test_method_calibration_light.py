"""Calibration, light: MMSE thresholds, a rounding start, and a bias per channel that is used in
every step.
"""

from helpers.methods import neuron, send

from spiking_yolo.convert.methods import get_recipe

LIGHT = get_recipe("calibration-light")


def test_the_bias_is_part_of_the_current_in_every_step():
    """theta = 1, start at 1/2, bias 1/4: z = 1/4 fires as 1/2 does."""
    assert (
        send(neuron(LIGHT, bias=[0.25]), [0.25] * 6)
        == send(neuron(LIGHT), [0.5] * 6)
        == [1, 0, 1, 0, 1, 0]
    )


def test_a_pair_turns_the_sign_of_the_bias_with_the_current():
    """Slope 1/2, bias -1/2: z = -1/4 is -3/4 for both neurons; OFF fires three times in four steps,
    each worth -1/2.
    """
    assert sum(send(neuron(LIGHT, slope=0.5, bias=[-0.5]), [-0.25] * 4)) == -1.5
