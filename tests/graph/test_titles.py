"""What layers are called, and the layer that is meant by a name or a title."""

import pytest
from helpers.tiny import write_tiny
from torch import randn

from spiking_yolo import SpikingYOLO, UserError
from spiking_yolo.graph import Graph, Node, shapes
from spiking_yolo.graph.titles import (
    activation_named,
    layer_before,
    layer_labels,
    layer_titles,
    listed_activations,
)

CONV = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}
POOL = {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0, 0, 0], "ceil": False}


def test_layers_are_numbered_and_have_the_size_of_their_own_output():
    """Two convolutions that are added: the neurons behind the sum belong to the later one."""
    nodes = (
        Node("x", "input"),
        Node("a", "conv", ("x",), CONV),
        Node("pool", "max_pool", ("a",), POOL),
        Node("f", "activation", ("pool",)),
        Node("b", "conv", ("f",), CONV),
        Node("sum", "add", ("b", "pool")),
        Node("g", "activation", ("sum",)),
        Node("flat", "flatten", ("g",)),
        Node("out", "linear", ("flat",)),
    )
    tensors = {"a.weight": randn(4, 3, 3, 3), "b.weight": randn(4, 4, 3, 3)}
    graph = Graph(nodes, ("out",), {**tensors, "out.weight": randn(5, 4 * 3 * 4)})
    assert layer_before(graph) == {"f": "a", "g": "b"}
    assert layer_titles(graph, shapes(graph, 6, 8)) == {
        "a": "conv 1, 6 x 8, 4 channels",
        "f": "conv 1, 3 x 4, 4 channels",
        "b": "conv 2, 3 x 4, 4 channels",
        "g": "conv 2, 3 x 4, 4 channels",
        "out": "linear 3, output, 5 values",
    }


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> SpikingYOLO:
    return SpikingYOLO(write_tiny(tmp_path_factory.mktemp("tiny")))


def test_a_layer_by_its_name_or_title(detector: SpikingYOLO):
    for text in ("layers_2_act", "2", "conv 2", "CONV 2", "conv2", "conv-2", " layers_2_act "):
        assert detector.layer_named(text) == "layers_2_act"
    # A layer without neurons, and none at all.
    for text in ("conv 99", "", "layers_2"):
        with pytest.raises(UserError, match=r"the layers are conv 1 \(layers_0_act\), "):
            detector.layer_named(text)


def test_titles_begin_with_the_label_and_no_two_are_the_same(detector: SpikingYOLO):
    graph = detector.converted.graph
    labels = layer_labels(graph)
    for name, title in detector.layer_titles().items():
        assert title.startswith(f"{labels[name]}, ")
    names = [node.name for node in graph.activations]
    assert [activation_named(graph, labels[name]) for name in names] == names
    assert listed_activations(graph).startswith("conv 1 (layers_0_act), conv 2 (layers_2_act)")
