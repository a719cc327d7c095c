"""NeuroBench's metrics of two convolutions, against products that are counted one by one as it does:
with inputs and weights that are 1 where they are not 0.
"""

import pytest
import torch
import torch.nn.functional as F
from helpers.networks import spiking
from torch import Tensor, nn

from spiking_yolo.convert.load import Converted
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.metrics.costs import CostsByShape, neurobench
from spiking_yolo.observe import Input, Observation, Observer

# Products of the layers with 8 x 8 pixels: 6 x 6 outputs of 4 channels, then 4 x 4 of 5.
FIRST, SECOND = 36 * 4 * 3 * 9, 16 * 5 * 4 * 9


class Chain(nn.Sequential):
    """Of the weights of the second layer 5 are 0, and none is small. [N, 3, 8, 8]."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))
        for weight in (self[0].weight, self[2].weight):
            weight.data = weight.data.sign() * (0.5 + weight.data.abs())
        self[2].weight.data[:, 0, 0, 0] = 0


def seen(method: str, t: int) -> tuple[Converted, Tensor, list[Observation]]:
    """The network, an image without zeros, and what was observed of it."""
    torch.manual_seed(1)
    x = torch.rand(1, 3, 8, 8) * 0.9 + 0.05
    converted = spiking(Chain().eval(), x, get_recipe(method))
    observer = Observer(converted.network(), converted.graph, converted.spec)
    return converted, x, list(observer.observe([Input(x[0])], t, want=()))


def test_whole_numbers_are_multiplied():
    converted, x, observed = seen("signed-digits", 1)
    found = neurobench(converted, observed, CostsByShape(converted))
    sent = converted.network().sent(x)[converted.graph.activations[0].name]
    ones = (sent != 0).double()
    effective = F.conv2d(ones, torch.ones(5, 4, 3, 3, dtype=torch.float64)).sum().item()
    assert 0 < effective < SECOND
    operations = {"Effective_MACs": FIRST + effective, "Effective_ACs": 0, "Dense": FIRST + SECOND}
    assert found["synaptic_operations"] == operations
    assert found["activation_sparsity"] == pytest.approx(1 - ones.mean().item())
    assert found["connection_sparsity"] == pytest.approx(5 / (108 + 180))
    # Weights of a byte; biases, and what the neurons and outputs have, of four.
    others = sum(value.numel() for layer in converted.neurons.values() for value in layer.values())
    assert found["footprint"] == 108 + 180 + 4 * (4 + 5 + others)


def test_spikes_are_added():
    """A neuron that sends one spike at a time, in four steps."""
    converted, _, observed = seen("p-norm", 4)
    found = neurobench(converted, observed, CostsByShape(converted))
    (one,) = observed
    operations = found["synaptic_operations"]
    assert operations["Effective_ACs"] == one.last.operations["spikes"] > 0
    assert operations["Dense"] == 4 * (FIRST + SECOND)
    assert found["activation_sparsity"] == pytest.approx(1 - one.last.total_spikes / (4 * 144))
    others = sum(value.numel() for layer in converted.neurons.values() for value in layer.values())
    assert found["footprint"] == 4 * (108 + 180 + 4 + 5 + others)
