"""Local threshold balancing: thresholds against a direct loop."""

import pytest
import torch
from helpers.methods import points
from torch import Tensor

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.convert.statistics import collect_histograms
from spiking_yolo.convert.thresholds import base_parameters
from spiking_yolo.graph import Node, forward

RECIPE = get_recipe("ltb")


def balanced(values: Tensor) -> float:
    """The threshold of one channel, by the loop over all its activations."""
    values = values.double().clamp(min=0)
    theta = 0.0
    while True:
        step = 2 * (values - theta).clamp(min=0).mean().item()
        theta += step
        if step <= 1e-3 * theta:
            return theta


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_thresholds_are_those_of_a_direct_loop(slope: float):
    """Up to the width of a bin of the histogram."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 3, generator=generator).tolist()
    graph = points([(weight, [0.3, -0.2, 0.0, -9.0, 0.1]), ([[1.0] * 5], [0.0])], slope)
    x = torch.randn(4, 3, 16, 16, generator=generator, dtype=torch.float64)
    seen: dict[str, Tensor] = {}

    def tap(node: Node, before: Tensor, after: Tensor) -> None:
        seen[node.name] = before.transpose(0, 1).flatten(1)

    forward(graph, x, tap)
    neurons = base_parameters(graph, collect_histograms(graph, [x]), RECIPE)["act1"]
    sides = {"theta": 1, "theta_off": -1} if slope else {"theta": 1}
    assert set(neurons) == {*sides, "initial"}
    for side, sign in sides.items():
        expected = [balanced(sign * channel) for channel in seen["act1"]]
        # A silent channel takes the largest threshold.
        expected = [theta or max(expected) for theta in expected]
        assert neurons[side].tolist() == pytest.approx(expected, rel=0.01)
