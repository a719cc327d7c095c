"""Opt.: half a threshold, spread over the run, turns flooring into rounding at t = T_shift."""

from helpers.methods import neuron, send

from spiking_yolo.convert.methods import get_recipe

OPT = get_recipe("opt")


def test_shift_by_hand():
    """theta = 1, T_shift = 4: each step adds 1/8. z = 3/8: U = 4/8, 8/8 - 1, 4/8, 8/8 - 1."""
    shifted = OPT.with_settings({"neuron.shift": 4})
    layer = neuron(shifted)
    assert send(layer, [3 / 8] * 4) == [0, 1, 0, 1] and layer.potential.item() == 0
    assert sum(send(neuron(shifted.with_settings({"neuron.shift": 0})), [3 / 8] * 4)) == 1
