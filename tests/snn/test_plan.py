"""What layers may rely on: max pooling hands on its sum only to a layer that reads it alone."""

import pytest
import torch
from helpers.methods import relative_error
from helpers.networks import images, make, spiking
from torch import Tensor, nn

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.snn.plan import NetworkPlan


class Shared(nn.Module):
    """A max pooling of neurons whose output goes to neurons of its own, and elsewhere as `use`
    says. [N, 3, 8, 8].
    """

    def __init__(self, use: str = "conv"):
        super().__init__()
        self.use, self.pool = use, nn.MaxPool2d(2)
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2, self.conv3 = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        pooled = self.pool(torch.relu(self.conv1(x)) + x[:, :1])
        own = torch.relu(pooled)
        if self.use == "conv":
            return self.conv3(own + torch.relu(self.conv2(pooled)))
        return (self.conv3(own), pooled) if self.use == "output" else self.conv3(own)


@pytest.mark.parametrize(("use", "sums"), [("conv", 0), ("output", 0), ("nothing", 1)])
def test_a_pooling_with_another_consumer_sends_changes(use: str, sums: int):
    model, x = make(Shared, use=use), images(2)
    converted = spiking(model, x, get_recipe("dcgs"))
    plan = NetworkPlan(converted.graph, converted.recipe)
    assert [plan.graph[pool].op for pool in plan.sums.values()] == ["max_pool"] * sums
    run = converted.network().run(x, 64, [8])
    for t, most in ((8, 0.2), (64, 0.05)):
        assert relative_error(run.snapshots[t].outputs, model(x)) < most
