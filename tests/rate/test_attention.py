"""Attention in a spiking network: costs, training, maps, and refusals."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.attention import Attending
from helpers.methods import recipe_of, relative_error
from helpers.networks import images, make, spiking

from spiking_yolo.convert.learn.differentiable import CompleteNetwork
from spiking_yolo.convert.learn.training import TrainableNeurons
from spiking_yolo.convert.load import Converted
from spiking_yolo.convert.methods import list_methods
from spiking_yolo.convert.thresholds import check_activations
from spiking_yolo.errors import UserError
from spiking_yolo.graph import forward
from spiking_yolo.graph.rewrites import product_sources, with_identities
from spiking_yolo.graph.trace import trace

PLAIN = {"neuron.dead_zone": 0, "neuron.slack": 0}


def converted(areas: int = 1, scale: float = 0.05) -> Converted:
    """The network with thetas that are this share of the statistic."""
    graph = with_identities(trace(make(lambda: Attending(areas)), images(1)))
    changes: dict[str, Any] = {"threshold.scale": scale, **PLAIN}
    changes |= {"calibration.kind": "none", "threshold.rule": "max"}
    return spiking(graph, images(2), recipe_of("signed-digits"), changes)


@pytest.mark.parametrize("areas", [1, 4])
def test_it_approaches_the_ann(areas: int):
    errors = []
    for scale in (0.2, 0.02):
        network = converted(areas, scale)
        run = network.network().run(images(2), 1)
        errors.append(relative_error(run.snapshots[1].outputs, forward(network.graph, images(2))))
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
    for name, method in list_methods().items():
        if name == "signed-digits":
            check_activations(graph, method.recipe)
            continue
        with pytest.raises(UserError, match=r"node 'attention_scores'.*signed-digits"):
            check_activations(graph, method.recipe)


def test_trained_neurons_are_the_simulated_ones():
    """No bias for a softmax, which would not change, and nothing at rest before a product: no
    constant map could stand for it. Products count both sides in training, as in a stream.
    """
    start = converted()
    graph, recipe, x = start.graph, start.recipe, images(2)
    complete = CompleteNetwork(graph, (8, 8), recipe.neuron)
    trained = TrainableNeurons(complete, start.neurons, forward(graph, x))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in trained.tensors():
            tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=0.1)
    with torch.no_grad():
        neurons = trained.values()
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
    first = network.run(images(2), 1, maps=True).snapshots[1]
    assert first.products is not None
    by_layer = first.operations_by_layer()
    expected = by_layer["attention_scores"].digits + by_layer["attention"].digits
    assert first.products.digits.equal(expected)
