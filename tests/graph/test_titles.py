"""What layers are called."""

from torch import randn

from spiking_yolo.graph import Graph, Node, layer_before, layer_labels

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
    assert layer_labels(graph) == {
        "a": "conv 1",
        "f": "conv 1",
        "b": "conv 2",
        "g": "conv 2",
        "out": "linear 3",
    }
