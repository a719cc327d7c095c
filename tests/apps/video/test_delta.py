"""Graded changes above a threshold: by hand, and against the ANN where the threshold is 0."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from helpers.tiny import write_tiny

from spiking_yolo.apps.video.delta import DeltaNetwork, gates, uniform_gates
from spiking_yolo.graph import Graph, Node, forward
from spiking_yolo.models.load import load_ann

POINT = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
AROUND = {**POINT, "padding": [1, 1]}


class Frame(NamedTuple):
    """What a network makes of a frame, in plain numbers."""

    outputs: tuple[torch.Tensor, ...]
    sent: dict[str, float]
    operations: dict[str, float]
    analogue_macs: float
    updates: float
    fresh: bool
    cut: bool


def frame_of(network: DeltaNetwork, x: torch.Tensor) -> Frame:
    of = network(x)
    s = of.run.snapshots[1]
    costs = s.sent.of_image(0), s.operations.of_image(0), of.run.analogue_macs, s.updates.item()
    return Frame(s.outputs, *costs, of.fresh, of.cut)


def chain(out: int = 1, kernel: int = 1) -> Graph:
    """2 x + 1, ReLU, and `out` times 3 of it."""
    nodes = (
        Node("x", "input"),
        Node("a", "conv", ("x",), POINT),
        Node("phi", "activation", ("a",)),
        Node("b", "conv", ("phi",), AROUND if kernel == 3 else POINT),
    )
    weights = {
        "a.weight": torch.full((1, 1, 1, 1), 2.0),
        "b.weight": torch.full((out, 1, kernel, kernel), 3.0),
    }
    return Graph(nodes, ("b",), {**weights, "a.bias": torch.ones(1)})


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> Graph:
    return load_ann(write_tiny(tmp_path_factory.mktemp("tiny"))).graph


def drifting(count: int, seed: int = 0) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    first = rng.random((1, 3, 64, 64), np.float32)
    return [
        torch.from_numpy(first + 0.05 * k * rng.random(first.shape, np.float32))
        for k in range(count)
    ]


def test_by_hand():
    network = DeltaNetwork(chain(), {"x": torch.tensor(0.2), "phi": torch.tensor(1.0)})

    def see(value: float) -> tuple[float, ...]:
        of = frame_of(network, torch.full((1, 1, 1, 1), value))
        return (
            round(of.outputs[0].item(), 4),
            of.sent["messages"],
            of.operations["messages"],
            of.analogue_macs,
            of.updates,
        )

    # A picture of one pixel is always like its mean.
    network._sent["x"] = torch.full((1, 1, 1, 1), 1.0)
    network._sums["a"] = torch.full((1, 1, 1, 1), 3.0)
    network._sent["phi"] = torch.full((1, 1, 1, 1), 3.0)
    network._sums["b"] = torch.full((1, 1, 1, 1), 9.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spiking_yolo.apps.video.delta.unlike", lambda *_: False)
        # Too small a change of the pixel.
        assert see(1.1) == (9, 0, 0, 0, 0)
        assert see(1.3) == (9, 0, 0, 1, 1)  # 2 * 0.3 arrives, 0.6 stays due
        assert see(1.45) == (9, 0, 0, 0, 0)
        # 1.2 are due and all of it is sent.
        assert see(1.6) == (12.6, 1, 1, 1, 2)
        assert see(1.6) == (12.6, 0, 0, 0, 0)


@pytest.mark.parametrize(("place", "reached"), [((0, 0), 4), ((0, 1), 6), ((1, 1), 9)])
def test_a_message_costs_what_it_reaches(place, reached):
    network = DeltaNetwork(chain(out=5, kernel=3), uniform_gates(chain(), 0.01))
    x = torch.rand(1, 1, 4, 4)
    network(x)
    x[0, 0, place[0], place[1]] += 0.1
    of = frame_of(network, x)
    assert (of.sent["messages"], of.operations["messages"], of.analogue_macs, of.fresh) == (
        1,
        5 * reached,
        1,
        False,
    )


def test_without_threshold_it_is_the_ann(graph):
    network = DeltaNetwork(graph, uniform_gates(graph, 0.0))
    for k, x in enumerate(drifting(6)):
        of = frame_of(network, x)
        assert of.fresh == (k == 0) and not of.cut
        for got, expected in zip(of.outputs, forward(graph, x), strict=True):
            torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_nothing_is_sent_where_nothing_changes(graph):
    network = DeltaNetwork(graph, uniform_gates(graph, 0.0))
    (x,) = drifting(1)
    first, second = frame_of(network, x), frame_of(network, x.clone())
    assert first.sent["messages"] > 0 and first.operations["messages"] > 0 and first.updates > 0
    assert (
        second.sent["messages"],
        second.operations["messages"],
        second.analogue_macs,
        second.updates,
    ) == (
        0,
        0,
        0,
        0,
    )
    assert all(torch.equal(a, b) for a, b in zip(first.outputs, second.outputs, strict=True))


def test_a_higher_threshold_sends_less_and_errs_more(graph):
    frames = drifting(4)

    def run(threshold: float) -> tuple[float, float]:
        network = DeltaNetwork(graph, uniform_gates(graph, threshold))
        last = [frame_of(network, x) for x in frames][-1]
        exact = forward(graph, frames[-1])
        return last.operations["messages"], sum(
            float((a - b).abs().sum()) for a, b in zip(last.outputs, exact, strict=True)
        )

    (many, near), (some, far), (none, farthest) = run(0.0), run(0.1), run(1e6)
    assert many > some > none == 0 and near < far < farthest


def test_a_cut_and_another_size_start_anew(graph):
    network = DeltaNetwork(graph, uniform_gates(graph, 10.0))
    x = drifting(1)[0]
    network(x)
    for frame in (1 - x, torch.rand(1, 3, 32, 64)):
        of = frame_of(network, frame)
        assert of.fresh and of.cut
        for got, expected in zip(of.outputs, forward(graph, frame), strict=True):
            torch.testing.assert_close(got, expected)


def test_thresholds_go_the_way_of_the_values():
    nodes = (
        Node("x", "input"),
        Node("a", "conv", ("x",), POINT),
        Node("p", "activation", ("a",)),
        Node("q", "activation", ("a",)),
        Node(
            "pool",
            "max_pool",
            ("p",),
            {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0, 0, 0], "ceil": False},
        ),
        Node("up", "upsample", ("pool",), {"scale": [2, 2]}),
        Node("both", "concat", ("up", "q")),
        Node("sum", "add", ("p", "q")),
        Node("flat", "flatten", ("pool",)),
    )
    graph = Graph(nodes, ("both",), {"a.weight": torch.ones(2, 3, 1, 1)})
    theta = {"p": torch.tensor([1.0, 2.0]), "q": torch.tensor([4.0, 0.5])}
    found = gates(graph, 4, 4, theta, 0.5, 0.1)
    assert found["x"].unique().tolist() == pytest.approx([0.1]) and not found["a"].any()
    assert found["both"].shape == (1, 4, 4, 4)
    assert found["both"][0, :, 3, 3].tolist() == [0.5, 1.0, 2.0, 0.25]
    assert found["sum"][0, :, 0, 0].tolist() == [2.0, 1.0]
    assert found["flat"].tolist() == [[0.5] * 4 + [1.0] * 4]


def test_of_a_shipped_network():
    """Every layer has a threshold, those of the neurons."""
    from spiking_yolo import SpikingYOLO

    detector = SpikingYOLO(Path(__file__).parents[3] / "weights" / "yolov3-tiny.weights")
    graph, spec = detector.converted.graph, detector.spec
    theta = {
        name: own["theta"] for name, own in detector.converted.neurons.items() if "theta" in own
    }
    found = gates(graph, spec.height, spec.width, theta, 0.5, 0.0)
    read = {node.inputs[0] for node in graph.nodes if node.op == "conv"}
    assert all((found[name] > 0).all() for name in read if graph[name].op != "input")
