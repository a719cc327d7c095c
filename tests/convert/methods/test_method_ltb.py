"""Local threshold balancing: thresholds against a direct loop, and the delayed read-out."""

import pytest
import torch
from helpers.methods import method, points
from helpers.networks import TinyLeaky, images
from torch import Tensor

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.convert.statistics import collect_histograms
from spiking_yolo.convert.thresholds import base_parameters
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node, forward

RECIPE = get_recipe("ltb")


def balanced(values: Tensor, most: float = float("inf")) -> float:
    """The threshold of one channel, by the loop over all its activations."""
    values = values.double().clamp(0, most)
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


def test_a_cap_is_seen_as_the_activation_sees_it():
    graph: Graph = points([([[1.0]], [0.0]), ([[1.0]], [0.0])])
    nodes = [
        Node(n.name, n.op, n.inputs, {"slope": 0.0, "cap": 1.0}) if n.op == "activation" else n
        for n in graph.nodes
    ]
    graph = Graph(tuple(nodes), graph.outputs, graph.tensors)
    x = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)).double() * 2
    theta = base_parameters(graph, collect_histograms(graph, [x]), RECIPE)["act1"]["theta"]
    assert theta.item() == pytest.approx(min(balanced(x, 1.0), 1.0), rel=0.01)


def test_the_output_is_the_mean_after_the_delay():
    _, converted = method(TinyLeaky, "ltb")
    _, whole = method(TinyLeaky, "ltb", {"readout.skip": 0})
    x, skip = images(2, seed=7), RECIPE.readout.skip
    late = converted.network().run(x, 20, [skip, 20])
    plain = whole.network().run(x, 20, [skip, 20])
    assert not any(output.any() for output in late.snapshots[skip].outputs)
    ends = late.snapshots[20], plain.snapshots[20], plain.snapshots[skip]
    outputs = zip(*(end.outputs for end in ends), strict=True)
    for output, everything, early in outputs:
        expected = (20 * everything - skip * early) / (20 - skip)
        assert torch.allclose(output, expected, atol=1e-9)
    with pytest.raises(UserError, match=r"skip=2.*below T=2"):
        converted.network().run(x, 2)
