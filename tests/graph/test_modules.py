import pytest
import torch

from spiking_yolo.graph.modules import QCFS, ClippedReLU


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
