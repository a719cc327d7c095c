"""Calibration, light: MMSE thresholds, a rounding start, and a bias per channel that is used in
every step.
"""

from typing import Any

import numpy as np
import pytest
import torch
from helpers.methods import method, neuron, relative_error, send
from helpers.networks import Pooled, TinyLeaky, images

from spiking_yolo.convert.methods import get_recipe

LIGHT = get_recipe("calibration-light")


def rounded_error(a: np.ndarray, theta: float, levels: int) -> float:
    return float(
        np.mean((np.clip(np.floor(a * levels / theta + 0.5), 0, levels) * theta / levels - a) ** 2)
    )


@torch.no_grad()
def test_theta_has_the_least_squared_error_of_the_rounded_rate():
    """Over the positive activations of the layer, with 32 levels; up to the bins of the
    histogram.
    """
    model, converted = method(Pooled, "calibration-light")
    z = model.body[0](images(2))  # type: ignore[index, operator]
    a, theta = z[z > 0].numpy(), converted.neurons["body_1"]["theta"]
    least = min(rounded_error(a, a.max() * k / 100, 32) for k in range(100, 5, -1))
    assert theta.unique().numel() == 1 and rounded_error(a, theta[0].item(), 32) <= 1.05 * least
    assert theta[0] < 0.999 * a.max(), "the maximum would do"


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


@torch.no_grad()
@pytest.mark.parametrize("cls", [Pooled, TinyLeaky])
def test_every_layer_and_the_head_are_corrected(cls: Any):
    """And on the calibration images, at the calibrated T, the output is closer than without
    corrections.
    """
    model, converted = method(cls, "calibration-light", {"calibration.T": 8})
    plain = method(cls, "calibration-light", {"calibration.kind": "none"})[1]
    heads = set(converted.graph.outputs)
    assert converted.neurons.keys() == plain.neurons.keys() | heads
    for name, site in converted.neurons.items():
        assert site["bias"].any() and (name in heads or site["initial"] == 0.5)
    corrected, before = (
        relative_error(c.network().run(images(2), 8).snapshots[8].outputs, model(images(2)))
        for c in (converted, plain)
    )
    assert corrected < before
