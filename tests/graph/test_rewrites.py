"""Neurons of the identity: where they stand, and that every method converts a linear bottleneck
with them.
"""

from dataclasses import replace

import pytest
import torch
from helpers.networks import images, make
from torch import Tensor, nn

from spiking_yolo.graph import Graph, forward
from spiking_yolo.graph.rewrites import analogue_nodes, with_identities
from spiking_yolo.graph.trace import trace
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.operations import total_macs


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
    values = dict(
        zip(
            [n.name for n in graph.nodes],
            forward(replace(graph, outputs=_names(graph)), x),
            strict=True,
        )
    )
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


def _names(graph: Graph) -> tuple[str, ...]:
    return tuple(node.name for node in graph.nodes)
