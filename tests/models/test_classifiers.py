from itertools import pairwise

import pytest
import torch
from torch import nn

from spiking_yolo.errors import UserError
from spiking_yolo.models.trainable import NETWORKS, build


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"yolov1"}))
def test_shape_trace_and_gradients(name: str):
    model = build(name, 7)
    x = torch.rand(2, 3, 32, 32)
    traced = torch.fx.symbolic_trace(model.eval())
    assert model(x).shape == (2, 7)
    assert torch.equal(traced(x), model(x))
    model(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_sizes_counted_by_hand():
    """3x3 kernels, two batch norm vectors each, one connected layer."""

    def conv(cin: int, cout: int, k: int = 3) -> int:
        return k * k * cin * cout + 2 * cout

    residual = conv(3, 16) + 6 * conv(16, 16) + conv(16, 32) + 5 * conv(32, 32)
    residual += conv(32, 64) + 5 * conv(64, 64)
    residual += conv(16, 32, 1) + conv(32, 64, 1) + 64 * 10 + 10
    assert parameters(build("resnet20", 10)) == residual
    plain = [3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    vgg = sum(conv(a, b) for a, b in pairwise(plain)) + 512 * 10 + 10
    assert parameters(build("vgg16", 10)) == vgg
    half = [3, *[c // 2 for c in plain[1:]]]
    thin = sum(conv(a, b) for a, b in pairwise(half)) + 256 * 10 + 10
    assert parameters(build("vgg_thin", 10)) == thin
    assert 2 * thin < 30e6


def test_resnet20_has_nineteen_activations_of_its_own():
    model = build("resnet20", 10, activation="qcfs", levels=4)
    assert len([m for m in model.modules() if type(m).__name__ == "QCFS"]) == 19


def test_mistakes_are_user_errors():
    for name, options in [("vgg99", {}), ("resnet20", {"depth": 3})]:
        with pytest.raises(UserError):
            build(name, 10, **options)
