"""Merged weights: the same function, events sent once, and what has to stay apart."""

import torch
from helpers.counting import total_operations
from helpers.networks import images, make
from torch import Tensor, nn

from spiking_yolo.graph import Graph, forward
from spiking_yolo.graph.rewrites import with_merged_weights
from spiking_yolo.graph.trace import trace
from spiking_yolo.snn.counting import Counts


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
    return graph, with_merged_weights(graph)


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
    for model in (Analogue,):
        graph, other = merged(model)
        assert other.nodes == graph.nodes
