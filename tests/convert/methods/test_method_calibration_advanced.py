"""Calibration, advanced: MMSE thresholds, and a start that makes up for what T steps will miss."""

import pytest
import torch
from helpers.methods import method, points
from helpers.networks import TinyLeaky, spiking

from spiking_yolo.convert.methods import get_recipe

ADVANCED = get_recipe("calibration-advanced")


def test_it_makes_up_for_clipping_over_the_calibrated_time():
    """theta is set to 1/2 of the maximum. At 1/4 the rate is right. At 3/4 it is 1/2: 1/8 too
    little on the average.

    So the start rises by T / 8 / theta thresholds. A larger start cannot help a neuron that fires
    in every step, but the one at 1/4 then sends T / 4 more in T steps, which balances the mean.
    """
    for T in [4, 16]:
        graph = points([([[1.0]], [0.0]), ([[1.0]], [0.0])])
        x = torch.tensor([0.75, 0.25], dtype=torch.float64).reshape(1, 1, 1, 2)
        settings = {"threshold.rule": "max", "threshold.scale": 2 / 3, "calibration.T": T}
        converted = spiking(graph, x, ADVANCED, settings)
        site = converted.neurons["act1"]
        assert site["theta"].item() == pytest.approx(0.5)
        assert site["initial"].tolist() == pytest.approx([0.5 + T / 4], rel=1e-6)
        output = converted.network().run(x, T).snapshots[T].outputs[0]
        assert output.mean().item() == pytest.approx(0.5)


def test_the_shift_of_a_pair_is_the_same_in_units_of_the_ann():
    """With the opposite sign; thresholds are those without a correction."""
    _, converted = method(TinyLeaky, "calibration-advanced", {"calibration.T": 8})
    plain = method(TinyLeaky, "calibration-advanced", {"calibration.kind": "none"})[1]
    for node in converted.graph.activations:
        site = converted.neurons[node.name]
        on = (site["initial"] - 0.5) * site["theta"]
        off = (site["initial_off"] - 0.5) * site["theta_off"]
        torch.testing.assert_close(on, -off)
        assert "bias" not in site and on.abs().max() > 1e-3
        assert torch.equal(site["theta"], plain.neurons[node.name]["theta"])
