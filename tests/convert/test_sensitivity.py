"""Sensitivity against derivatives written out, and thresholds that meet the operations asked
for.
"""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.methods import points
from helpers.networks import Grouped, Pooled, TinyLeaky, images, make, spiking

from spiking_yolo.convert.learn.differentiable import (
    BOXES,
    CompleteNetwork,
    balanced,
    boxes_and_scores,
    budget,
    scaled_to,
    sensitivity,
)
from spiking_yolo.graph import Graph
from spiking_yolo.models.spec import HeadSpec, Spec
from spiking_yolo.recipe import Neuron, Recipe


def test_sensitivity_of_a_linear_chain_by_hand():
    """Two channels that reach one output by weights 3 and -4: S is in the ratio 9 to 16, and
    |output|^2 divides it.
    """
    graph = points([([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]), ([[3.0, -4.0]], [0.0])])
    x = torch.tensor([[2.0, 1.0]], dtype=torch.float64).reshape(1, 2, 1, 1)  # the output is 2
    (own,) = sensitivity(graph, [x] * 500).values()
    assert own[1] / own[0] == pytest.approx(16 / 9)
    assert own[0].item() == pytest.approx(9 / 4, rel=0.1)  # E[v^2] = 1


def test_boxes_and_scores_by_hand():
    """One cell, one class: left, top, right and bottom are 1, 1, 3 and 1 cells, the score is 1/5.

    The logit counts sqrt(p (1 - p)). A side counts BOXES sqrt(p) over the box's width of 4 cells or
    height of 2.
    """
    spec = Spec("detect", ("a",), 32, 32, heads=(HeadSpec("yolov8", 1, 1, bins=1),))
    logit = math.log(0.2 / 0.8)
    x = torch.tensor([1.0, 1.0, 3.0, 1.0, logit], dtype=torch.float64).reshape(1, 5, 1, 1)
    jacobian = torch.autograd.functional.jacobian(
        lambda x: torch.cat([part.flatten() for part in boxes_and_scores([x], spec)]), x
    ).reshape(5, 5)
    side = BOXES * math.sqrt(0.2)
    expected = torch.zeros(5, 5, dtype=torch.float64)
    expected[0, 4] = 0.4
    for k, (sign, cells) in enumerate(((-1, 4), (-1, 2), (1, 4), (1, 2))):
        expected[1 + k, k] = sign * side / cells
    torch.testing.assert_close(jacobian, expected)


@pytest.mark.parametrize("cls", [TinyLeaky, Pooled])
def test_it_is_the_squared_gradient(cls: Any):
    """Noise on one activation moves the output as S says, to first order; equal for equal seeds."""
    graph = spiking(make(cls), images(2), Recipe("tested")).graph
    batches = list(images(3).split(1))
    one, two = sensitivity(graph, batches), sensitivity(graph, [images(3)])
    assert all(torch.equal(one[k], sensitivity(graph, batches)[k]) for k in one)
    assert one.keys() == two.keys() == {node.name for node in graph.activations}
    assert all((s > 0).any() and (s >= 0).all() for s in one.values())


@pytest.mark.parametrize("cls", [TinyLeaky, Pooled])
def test_thresholds_meet_the_operations(cls: Any):
    graph = spiking(make(cls), images(2), Recipe("tested")).graph
    network, batches = CompleteNetwork(graph, (8, 8), Neuron()), list(images(3).split(1))
    thetas = balanced(network, sensitivity(network.graph, batches))
    start = {name: {"theta": theta, "initial": torch.tensor(0.5)} for name, theta in thetas.items()}
    for wanted in (0.12, 0.2):
        values = scaled_to(wanted, network, start, batches)
        spent = torch.cat([network(x, values)[1] for x in batches]).mean().item()
        assert spent == pytest.approx(wanted, rel=0.05)


def lengthened(graph: Graph, layers: int) -> Graph:
    """With copies of the first layer with weights, until there are so many."""
    first = graph.weighted[0]
    copies = range(layers - len(graph.weighted))
    more = tuple(replace(first, name=f"more{k}") for k in copies)
    tensors = {f"{node.name}.weight": graph.tensors[f"{first.name}.weight"] for node in more}
    return replace(graph, nodes=(*graph.nodes, *more), tensors={**graph.tensors, **tensors})


def test_deep_and_depthwise_networks_take_more_operations():
    for cls, layers, expected in [
        (Pooled, 40, 0.7),
        (Pooled, 41, 0.945),
        (Pooled, 80, 0.945),
        (Pooled, 81, 1.085),
        # One of four layers is depthwise.
        (Grouped, 4, 1.4),
        (Grouped, 5, 0.7),
    ]:
        graph = spiking(make(cls), images(2), Recipe("tested")).graph
        assert budget(lengthened(graph, layers), 0.7) == pytest.approx(expected)
