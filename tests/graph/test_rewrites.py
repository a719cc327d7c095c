"""Neurons of the identity and where they stand; merged weights; modules with a cap; what layers are
called.
"""

from dataclasses import replace

import pytest
import torch
from helpers.counting import total_operations
from helpers.networks import images, make
from torch import Tensor, nn, randn

from spiking_yolo.graph import Graph, Node, forward, layer_before, layer_labels, shapes
from spiking_yolo.graph.modules import QCFS, ClippedReLU
from spiking_yolo.graph.rewrites import analogue_nodes, with_identities, with_merged_weights
from spiking_yolo.graph.trace import trace
from spiking_yolo.spikes.counting import Counts
from spiking_yolo.spikes.operations import total_macs


class Bottleneck(nn.Module):
    """A linear bottleneck, twice, with a shortcut, pooled and joined; an output in the middle. [N,
    3, 8, 8].
    """

    def __init__(self):
        super().__init__()
        self.stem, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()
        self.down = nn.Conv2d(4, 3, 1)
        self.expand, self.act1 = nn.Conv2d(3, 6, 1), nn.LeakyReLU(0.1)
        self.depthwise, self.act2 = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.ReLU()
        self.project = nn.Conv2d(6, 3, 1)
        self.pool = nn.MaxPool2d(3, 1, 1)
        self.head = nn.Conv2d(6, 5, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.down(self.relu(self.stem(x)))
        y = self.project(self.act2(self.depthwise(self.act1(self.expand(x)))))
        joined = torch.cat([x + y, self.pool(x)], 1)
        return self.head(joined), y


@pytest.fixture
def graph() -> Graph:
    return with_identities(trace(make(Bottleneck), images(1)))


def test_they_stand_where_a_weighted_layer_would_read_analogue_values(graph: Graph):
    identities = [node.name for node in graph.activations if node.phi.slope == 1]
    # Not behind y, which is an output and an operand of the sum.
    assert identities == ["down_identity", "add_identity"]
    assert graph["expand"].inputs == ("down_identity",)
    assert graph["add"].inputs == ("down_identity", "project")
    assert graph["cat"].inputs == ("add_identity", "pool")
    assert graph["pool"].inputs == ("down_identity",)
    assert graph.outputs == ("head", "project")
    read = {name for node in graph.nodes if node.op in ("conv", "linear") for name in node.inputs}
    assert read.isdisjoint(analogue_nodes(graph)) and with_identities(graph) is graph


def test_they_change_no_value(graph: Graph):
    x = images(2)
    for output, wanted in zip(forward(graph, x), make(Bottleneck)(x), strict=True):
        assert torch.allclose(output, wanted)


def test_only_the_layer_of_the_image_multiplies(graph: Graph):
    x = images(1)
    names = tuple(node.name for node in graph.nodes)
    values = dict(zip(names, forward(replace(graph, outputs=names), x), strict=True))
    counts = {
        n.name: Counts.alike(values[n.name])
        for n in graph.nodes
        if n.op in ("activation", "max_pool")
    }
    sizes = {name: value.shape for name, value in values.items()}
    total, analogue = total_macs(graph, sizes, counts)
    stem = 3 * 4 * (9 * 36 + 6 * 24 + 4 * 4)
    assert analogue == stem
    assert total == stem + 64 * (4 * 3 + 3 * 6 + 6 * 3 + 6 * 5) + 6 * (9 * 36 + 6 * 24 + 4 * 4)


class Repeated(nn.Module):
    """C2f in small: the second half of a map, and sums that contain it, joined. [N, 3, 8, 8]."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.conv1 = nn.Conv2d(2, 2, 3, padding=1)
        self.conv2 = nn.Conv2d(2, 2, 3, padding=1)
        self.head = nn.Conv2d(8, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        halves = torch.relu(self.stem(x)).split((2, 2), 1)
        low, high = halves[0], halves[1]
        first = high + torch.relu(self.conv1(high))
        second = first + torch.relu(self.conv2(first))
        return self.head(torch.cat([low, high, first, second], 1))


class Analogue(nn.Module):
    """A map joined with a sum that no neuron has rounded yet, behind which neurons will stand."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 2, 1)
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.head = nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        return self.head(torch.cat([x, x + self.conv(x)], 1))


def merged(model: type[nn.Module]) -> tuple[Graph, Graph]:
    graph = trace(make(model), images(1))
    return graph, with_merged_weights(graph, shapes(graph, 8, 8))


def test_the_function_stays():
    for model in (Repeated, Analogue):
        graph, other = merged(model)
        torch.testing.assert_close(forward(other, images(2)), forward(graph, images(2)))


def test_a_repeated_map_is_sent_once():
    graph, other = merged(Repeated)
    assert other["head"].inputs == ("head_inputs",)
    assert other["head_inputs"].inputs == ("getitem", "getitem_1", "relu_1", "relu_2")
    # Eight events of the second half at one inner place reach conv1, and the head's 9 x 5 outputs
    # three times before and once now.
    shapes = {node.name: torch.Size((1, 4, 8, 8)) for node in graph.nodes}
    events = torch.zeros(1, 4, 8, 8, dtype=torch.float64)
    events[0, 2, 3, 3] = 8
    nothing = torch.zeros(1, 2, 8, 8, dtype=torch.float64)
    counts = {
        "relu": Counts.alike(events),
        "relu_1": Counts.alike(nothing),
        "relu_2": Counts.alike(nothing),
    }
    before, after = (total_operations(g, counts, shapes).digits.item() for g in (graph, other))
    assert before - after == 8 * 9 * 5 * 2
    assert after == 8 * (9 * 2 + 9 * 2 + 9 * 5)


def test_others_stay_apart():
    graph, other = merged(Analogue)
    assert other.nodes == graph.nodes


def test_backward_by_hand():
    """Straight through: inside the range d/dx = 1; d/dtheta = q - x / theta there, 1 above it, 0
    below.
    """
    layer = QCFS(levels=4, theta=2.0)
    x = torch.tensor([-1.0, 0.3, 5.0], requires_grad=True)
    for i, (dx, dtheta) in enumerate([(0.0, 0.0), (1.0, 0.25 - 0.15), (0.0, 1.0)]):
        x.grad = layer.theta.grad = None
        layer(x)[i].backward()
        assert x.grad is not None and layer.theta.grad is not None
        assert x.grad[i].item() == pytest.approx(dx)
        assert layer.theta.grad.item() == pytest.approx(dtheta, abs=1e-6)


def test_clipped_relu_learns_its_cap_from_clipped_inputs_only():
    layer = ClippedReLU(1.0)
    layer(torch.tensor([-1.0, 0.5, 2.0, 3.0])).sum().backward()
    assert layer.theta.grad is not None and layer.theta.grad.item() == 2


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
