"""A layer by its name or by its title: in a graph, and wherever a user names one."""

from pathlib import Path

import pytest
from helpers.tiny import write_tiny

from spiking_yolo import SpikingYOLO, UserError
from spiking_yolo.graph.titles import activation_named, layer_labels, listed_activations


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def detector(weights: Path) -> SpikingYOLO:
    return SpikingYOLO(weights)


@pytest.mark.parametrize(
    "text", ["layers_2_act", "2", "conv 2", "CONV 2", "conv2", "conv-2", " layers_2_act "]
)
def test_spellings(detector, text):
    assert detector.layer_named(text) == "layers_2_act"


def test_titles_begin_with_the_label_and_no_two_are_the_same(detector):
    graph = detector.converted.graph
    labels = layer_labels(graph)
    for name, title in detector.layer_titles().items():
        assert title.startswith(f"{labels[name]}, ")
    names = [node.name for node in graph.activations]
    assert [activation_named(graph, labels[name]) for name in names] == names
    assert listed_activations(graph).startswith("conv 1 (layers_0_act), conv 2 (layers_2_act)")


def test_no_such_layer(detector):
    # A layer without neurons, and none at all.
    for text in ("conv 99", "", "layers_2"):
        with pytest.raises(UserError, match=r"the layers are conv 1 \(layers_0_act\), "):
            detector.layer_named(text)
