"""Attention in a spiking network: products of changes, the softmax neuron, streams, and a recount of
every operation.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.attention import Attending
from helpers.methods import recipe_of, relative_error
from helpers.networks import images, make, spiking, statistics
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.differentiable import CompleteNetwork
from spiking_yolo.convert.methods import get_recipe, list_methods
from spiking_yolo.convert.thresholds import base_parameters
from spiking_yolo.convert.training import TrainableNeurons
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Activation, Node, forward
from spiking_yolo.graph.graph import attend, attention_scores
from spiking_yolo.graph.rewrites import product_sources, with_identities
from spiking_yolo.graph.trace import trace
from spiking_yolo.snn.neurons import NeuronLayer, build_neurons
from spiking_yolo.snn.synapses import Product

PLAIN = {"neuron.hysteresis": 0, "encoding.tau": 0, "neuron.slack": 0}
ATTENDING = ("signed-digits", "sigma-delta", "css")


def converted(method: str = "signed-digits", areas: int = 1, scale: float = 0.05) -> Converted:
    """The network with thetas that are this share of the statistic."""
    graph = with_identities(trace(make(lambda: Attending(areas)), images(1)))
    recipe = recipe_of(method)
    changes: dict[str, Any] = {"threshold.scale": scale}
    if method == "signed-digits":
        changes |= {**PLAIN, "calibration.kind": "none", "threshold.rule": "max"}
    return spiking(graph, images(2), recipe, changes)


@settings(deadline=None, max_examples=30)
@given(
    op=st.sampled_from(["attention_scores", "attend"]),
    areas=st.sampled_from([1, 2]),
    arrivals=st.lists(st.sampled_from(["left", "right", "both"]), max_size=5),
    seed=st.integers(0, 99),
)
def test_changes_of_a_product_add_up(op: str, areas: int, arrivals: list[str], seed: int):
    """d(QK) = dQ K + Q dK, in float64: the sum is the product of the sums."""
    generator = torch.Generator().manual_seed(seed)
    node = Node("p", op, ("a", "b"), {"heads": 2, "areas": areas})
    multiply = attention_scores if op == "attention_scores" else attend
    left_shape = (1, 4, 2, 4) if op == "attention_scores" else (1, 2, 8, 8 // areas)

    def change(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    product = Product(node)
    left, right = change(left_shape), change((1, 4, 2, 4))
    total = product(left, right)
    assert total is not None
    for arrival in arrivals:
        left_change = None if arrival == "right" else change(left_shape)
        right_change = None if arrival == "left" else change((1, 4, 2, 4))
        result = product(left_change, right_change)
        assert result is not None
        total = total + result
        left = left if left_change is None else left + left_change
        right = right if right_change is None else right + right_change
    torch.testing.assert_close(total, multiply(left, right, 2, areas), rtol=1e-12, atol=1e-12)


def softmax_neurons(theta: float, method: str = "signed-digits") -> NeuronLayer:
    recipe = recipe_of(method).with_settings(PLAIN if method == "signed-digits" else {})
    parameters = {"theta": torch.full((2,), theta), "initial": torch.tensor(0.5)}
    return build_neurons(parameters, recipe, Activation(softmax=True))


def test_a_softmax_neuron_sends_rounded_weights_and_then_their_changes():
    """By hand: theta = 1/8; scores 0, log 3 weigh 1/4 and 3/4, which is 2 and 6 thetas; equal scores
    weigh 4 thetas each.
    """
    layer = softmax_neurons(0.125)
    scores = torch.zeros(1, 2, 1, 2)
    scores[0, 0, 0, 1] = torch.tensor(3.0).log()
    assert layer(scores).flatten().tolist() == [2, 6, 4, 4]
    assert layer(-scores).flatten().tolist() == [2, -2, 0, 0]
    assert layer.count.flatten().tolist() == [4, 8, 4, 4]
    assert not layer(torch.ones(1, 2, 1, 2)).any()  # the same for all scores of a row


@settings(deadline=None, max_examples=25)
@given(
    changes=st.lists(st.integers(0, 999), min_size=1, max_size=4),
    theta=st.floats(1e-3, 0.5),
    method=st.sampled_from(["signed-digits", "sigma-delta"]),
)
def test_what_softmax_neurons_have_sent_is_the_rounded_softmax_of_the_sum(
    changes: list[int], theta: float, method: str
):
    layer = softmax_neurons(theta, method)
    scores, sent = torch.zeros(2, 2, 3, 4), torch.zeros(2, 2, 3, 4)
    for seed in changes:
        change = torch.randn(scores.shape, generator=torch.Generator().manual_seed(seed))
        scores += change
        sent += layer(change)
        for _ in range(2000 * (method == "sigma-delta")):
            if layer.settled:
                break
            sent += layer(None)
    error = (sent * theta - scores.softmax(-1)).abs().max().item()
    assert error <= theta * (0.501 if method == "signed-digits" else 1.001)


@pytest.mark.parametrize(
    ("method", "areas"), [*((method, 1) for method in ATTENDING), ("signed-digits", 4)]
)
def test_it_approaches_the_ann(method: str, areas: int):
    errors = []
    for scale in (0.2, 0.02):
        network = converted(method, areas, scale)
        T = 1 if method == "signed-digits" else 96
        run = network.network().run(images(2), T)
        errors.append(relative_error(run.snapshots[T].outputs, forward(network.graph, images(2))))
    assert errors[1] < 0.02
    assert errors[1] < errors[0]


def test_multiply_accumulates_include_the_products():
    run = converted().network().run(images(1), 1)
    # 16 tokens; stem, q and k, v, pe (cut at the border), both products, proj, ffn, head.

    def taps(side: int, size: int, stride: int) -> int:
        """Places of a 3 x 3 kernel inside the map, over all outputs."""
        inside = [0 <= stride * i - 1 + a < size for i in range(side) for a in range(3)]
        return sum(inside) ** 2

    stem, pe = 3 * 6 * taps(4, 8, 2), 6 * taps(4, 4, 1)
    products = 4 * 16 * 16 + 6 * 16 * 16
    others = 16 * (6 * 4 * 2 + 6 * 6 + 6 * 6 + 6 * 8 * 2 + 6 * 5)
    assert run.macs == stem + pe + products + others


def test_methods_of_rate_coding_refuse_it_with_the_way_out():
    graph = with_identities(trace(make(Attending), images(1)))
    histograms = statistics(graph, images(2)).histograms
    for name, method in list_methods().items():
        if name in ATTENDING:
            base_parameters(graph, histograms, method.recipe)
            continue
        with pytest.raises(UserError, match=r"node 'attention_scores'.*signed-digits"):
            base_parameters(graph, histograms, method.recipe)
    # And by themselves.
    parameters = {"theta": torch.ones(2), "initial": torch.tensor(0.5)}
    with pytest.raises(UserError, match=r"softmax of attention.*neuron\.kind=sigma-delta"):
        build_neurons(parameters, get_recipe("p-norm"), Activation(softmax=True))


def test_trained_neurons_are_the_simulated_ones():
    """No bias for a softmax, which would not change, and nothing at rest before a product: no
    constant map could stand for it. Products count both sides in training, as in a stream.
    """
    start = converted()
    graph, recipe, x = start.graph, start.recipe, images(2)
    complete = CompleteNetwork(graph, (8, 8), recipe.neuron.slack)
    trained = TrainableNeurons(complete, start.neurons, forward(graph, x))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in trained.tensors():
            tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=0.1)
    neurons = trained.values(detach=True)
    without_rest = {node.name for node in graph.activations if "rest" not in neurons[node.name]}
    assert without_rest == product_sources(graph)
    assert "bias" not in neurons["attention_softmax"]
    x = (x * 255).round() / 255
    outputs, spent = complete(x, neurons)
    snapshot = replace(start, neurons=neurons).network().run(x, 1).snapshots[1]
    assert relative_error(snapshot.outputs, tuple(outputs)) < 0.02
    stored = sum(snapshot.sent_by_layer[name].digits * 16 for name in ("k_identity", "v_identity"))
    operations = snapshot.operations.digits + stored
    torch.testing.assert_close(spent.double() * complete.macs, operations, rtol=1e-2, atol=0.5)


def test_spike_maps_leave_out_neurons_of_pairs_of_places():
    maps = converted().network().run(images(1), 1, maps=True).snapshots[1].maps
    assert "attention_softmax" not in maps
    assert {name: tuple(m.shape) for name, m in maps.items()}["add_identity"] == (1, 4, 4)


def test_operations_of_the_products_are_known_apart():
    network = converted().network()
    first = network.run(images(2), 1).snapshots[1]
    assert first.products is not None
    by_layer = first.operations_by_layer
    expected = by_layer["attention_scores"].digits + by_layer["attention"].digits
    assert first.products.digits.equal(expected)
