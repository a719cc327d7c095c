"""Networks with clipped ReLU, ReLU6 and QCFS: traced as they compute, and converted by every
method.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from helpers.methods import recipe_of, relative_error
from helpers.networks import images, make, spiking
from torch import Tensor, nn

from spiking_yolo.convert.load import Converted
from spiking_yolo.convert.methods import list_methods
from spiking_yolo.graph import Activation, forward
from spiking_yolo.graph.modules import QCFS, ClippedReLU
from spiking_yolo.graph.trace import trace
from spiking_yolo.models.trainable import YOLOv1, build

METHODS = list(list_methods())
CAPS = (0.4, 0.3, 0.25)


class Capped(nn.Module):
    """Three caps that are reached, max pooling, average pooling, a shortcut. [N, 3, 8, 8]."""

    def __init__(self, activation: Callable[[float], nn.Module]):
        super().__init__()
        self.conv1, self.act1 = nn.Conv2d(3, 6, 3, padding=1), activation(CAPS[0])
        self.pool = nn.MaxPool2d(2)
        self.conv2, self.act2 = nn.Conv2d(6, 6, 3, padding=1), activation(CAPS[1])
        self.conv3, self.act3 = nn.Conv2d(6, 6, 3, padding=1), activation(CAPS[2])
        self.mean, self.fc = nn.AvgPool2d(2), nn.Linear(24, 5)
        for conv in (self.conv2, self.conv3):
            conv.weight.data *= 4

    def forward(self, x: Tensor) -> Tensor:
        y = self.pool(self.act1(self.conv1(x)))
        y = self.act3(self.conv3(self.act2(self.conv2(y))) + y)
        return self.fc(self.mean(y).flatten(1))


@cache
def converted(method: str, activation: Any = ClippedReLU, **settings: Any) -> Converted:
    """Calibrated on images(2)."""
    changes = {k.replace("__", "."): v for k, v in settings.items()}
    return spiking(make(Capped, activation=activation), images(2), recipe_of(method), changes)


@torch.no_grad()
@pytest.mark.parametrize("activation", ["clip", "qcfs"])
@pytest.mark.parametrize("name", ["resnet20", "vgg16", "yolov1"])
def test_what_is_trained_here_is_traced(name: str, activation: str):
    """With batch norm that was seen by data, and caps that are reached."""
    options = {"activation": activation, "levels": 4}

    def network() -> nn.Module:
        if name == "yolov1":
            return YOLOv1(classes=3, pool="max", **options)
        narrow = {"width": 0.1, "pool": "avg"} if name == "vgg16" else {}
        return build(name, 10, **options, **narrow)

    model, x = make(network), torch.rand(2, 3, 32, 32, dtype=torch.float64)  # type: ignore[arg-type]
    for module in model.modules():
        if isinstance(module, QCFS | ClippedReLU):
            module.theta.fill_(0.7)
    graph = trace(model, x[:1])
    levels = 4 if activation == "qcfs" else None
    cap = graph.activations[0].phi.cap
    assert {node.phi for node in graph.activations} == {Activation(cap=cap, levels=levels)}
    torch.testing.assert_close(forward(graph, x)[0], model(x), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", METHODS)
def test_every_method_comes_close_and_no_threshold_is_above_the_cap(name: str):
    """As in test_method_all, on images that it was not calibrated on; the second time with
    thresholds that want to.
    """
    x, network = images(2, seed=7), converted(name)
    errors = [
        relative_error(s.outputs, make(Capped, activation=ClippedReLU)(x))
        for s in network.network().run(x, 64, [1]).snapshots.values()
    ]
    assert errors[1] < (0.4 if name == "spike-norm" else 0.1), errors
    # Complete after one step.
    assert errors[1] < errors[0] or network.recipe.complete, errors
    for one in (network, converted(name, threshold__scale=10_000.0)):
        for node, cap in zip(one.graph.activations, CAPS, strict=True):
            theta = one.neurons[node.name]["theta"]
            assert (theta <= torch.tensor(cap)).all()
            assert one is network or (theta == torch.tensor(cap)).all()
