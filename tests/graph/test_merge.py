"""Merged weights: the same function, events sent once, and what has to stay apart."""

import torch
from helpers.counting import total_operations
from helpers.networks import images, make
from torch import Tensor, nn

from spiking_yolo.graph import Graph, forward
from spiking_yolo.graph.merge import with_merged_weights
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


class Parallel(nn.Module):
    """RepVGG's sums: kernels of 7 and 3 by channel, of 3 and 1, and one of other stride."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.large = nn.Conv2d(4, 4, 7, padding=3, groups=4)
        self.small = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.conv3 = nn.Conv2d(4, 5, 3, stride=2, padding=1)
        self.conv1 = nn.Conv2d(4, 5, 1, stride=2)
        self.even = nn.Conv2d(5, 5, 2, padding=1)
        self.odd = nn.Conv2d(5, 5, 4, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.small(x) + self.large(x))
        x = torch.relu(self.conv3(x) + self.conv1(x))
        return torch.relu(self.even(x) + self.odd(x))


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


class Apart(nn.Module):
    """Sums of convolutions of unlike input, or with another reader. [N, 3, 8, 8]."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.conv3, self.conv4 = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.conv1(x)
        b = torch.relu(a + self.conv2(x)) + torch.relu(a)
        return torch.relu(self.conv3(b) + self.conv4(x))


def merged(model: type[nn.Module]) -> tuple[Graph, Graph]:
    graph = trace(make(model), images(1))
    return graph, with_merged_weights(graph, (8, 8))


def test_the_function_stays():
    for model in (Repeated, Parallel, Analogue, Apart):
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


def test_parallel_convolutions_become_one():
    _, other = merged(Parallel)
    assert [node.name for node in other.weighted] == ["stem", "large", "conv3", "odd"]
    assert not any(node.op == "add" for node in other.nodes)
    assert not any(key.startswith(("small.", "conv1.", "even.")) for key in other.tensors)


def test_others_stay_apart():
    for model in (Analogue, Apart):
        graph, other = merged(model)
        assert other.nodes == graph.nodes
